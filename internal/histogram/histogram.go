// Package histogram counts durations in buckets that every histogram shares, so that
// histograms of different workers and minutes can be merged.
//
// A bucket is an eighth of an octave of microseconds, so a quantile is at most 1/16 (6 %)
// from the true duration. Durations below 8 µs have buckets of 1 µs. Those of 2^43 µs
// (101 days) or more share the last bucket.
//
// An encoded histogram is a sequence of pairs of unsigned varints, one pair for each
// bucket that is not empty, in ascending order: the number of empty buckets before it and
// the number of durations in it. A minute of one name usually takes 10 to 60 bytes. Stores
// keep this encoding, so it must not change.
package histogram

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

const (
	partBits = 3
	parts    = 1 << partBits // buckets per octave
	octaves  = 43
	buckets  = parts * (octaves - partBits + 1)
)

// A Histogram counts durations. The zero value is empty.
type Histogram struct {
	counts [buckets]uint32
}

// bucket returns the index of the bucket of a duration.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0)) / uint64(time.Microsecond)
	octave := bits.Len64(us) - 1 - partBits
	if octave < 0 {
		return int(us)
	}
	return min((octave+1)*parts+int(us>>octave)&(parts-1), buckets-1)
}

// bounds returns the shortest duration of a bucket, and the shortest of the next one.
func bounds(i int) (from, until time.Duration) {
	us := func(i int) time.Duration {
		if i < parts {
			return time.Duration(i) * time.Microsecond
		}
		return time.Duration(parts+i%parts) << (i/parts - 1) * time.Microsecond
	}
	return us(i), us(i + 1)
}

// Record counts a duration. A negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	h.add(bucket(d), 1)
}

func (h *Histogram) add(i int, n uint64) {
	h.counts[i] = uint32(min(uint64(h.counts[i])+n, math.MaxUint32))
}

// Add adds an encoded histogram. It ignores what does not decode.
func (h *Histogram) Add(encoded []byte) {
	for i, n := range pairs(encoded) {
		h.add(i, n)
	}
}

// Append appends the encoded histogram to b.
func (h *Histogram) Append(b []byte) []byte {
	next := 0
	for i, n := range h.counts {
		if n > 0 {
			b = binary.AppendUvarint(b, uint64(i-next))
			b = binary.AppendUvarint(b, uint64(n))
			next = i + 1
		}
	}
	return b
}

// Total returns the number of durations.
func (h *Histogram) Total() (n int64) {
	for _, c := range h.counts {
		n += int64(c)
	}
	return n
}

// Quantile returns the duration that a part q of all durations does not exceed, or zero
// if there is none. It is the middle of a bucket.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Total()
	if total == 0 {
		return 0
	}
	rank := max(1, int64(math.Ceil(q*float64(total))))
	for i, n := range h.counts {
		if rank -= int64(n); rank <= 0 {
			from, until := bounds(i)
			return (from + until - time.Microsecond) / 2
		}
	}
	return 0
}

// pairs yields the buckets of an encoded histogram and their counts.
func pairs(encoded []byte) func(yield func(int, uint64) bool) {
	return func(yield func(int, uint64) bool) {
		for i := uint64(0); len(encoded) > 0; i++ {
			gap, a := binary.Uvarint(encoded)
			if a <= 0 || gap >= buckets {
				return
			}
			n, b := binary.Uvarint(encoded[a:])
			if b <= 0 || n > math.MaxUint32 {
				return
			}
			encoded = encoded[a+b:]
			if i += gap; i >= buckets || !yield(int(i), n) {
				return
			}
		}
	}
}
