package histogram

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	last := time.Duration(0)
	for i := range buckets {
		from, until := bounds(i)
		if from != last || until <= from {
			t.Fatalf("bucket %d is [%v, %v), want it to begin at %v", i, from, until, last)
		}
		if bucket(from) != i || bucket(until-1) != i {
			t.Fatalf("the bounds of bucket %d, [%v, %v), are in %d and %d", i, from, until, bucket(from), bucket(until-1))
		}
		last = until
	}
	if got := bucket(300 * 24 * time.Hour); got != buckets-1 {
		t.Errorf("300 days are in bucket %d, want the last", got)
	}
	if got := bucket(-time.Second); got != 0 {
		t.Errorf("a negative duration is in bucket %d, want the first", got)
	}
}

func TestQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Append(nil) != nil {
		t.Error("an empty histogram has a quantile or an encoding")
	}
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(1) << (10 + r.IntN(30)) * time.Duration(1+r.IntN(8))
		all = append(all, d)
		h.Record(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.95, 0.99, 1} {
		want := all[max(0, int(q*float64(len(all)))-1)]
		got := h.Quantile(q)
		if diff := (got - want).Abs(); diff > want/16+2*time.Microsecond {
			t.Errorf("quantile %v is %v, want %v within 1/16", q, got, want)
		}
	}
}

func TestMerge(t *testing.T) {
	var a, b, both Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		both.Record(d)
		if i%3 == 0 {
			a.Record(d)
		} else {
			b.Record(d)
		}
	}
	var merged Histogram
	merged.Add(a.Append(nil))
	merged.Add(b.Append(nil))
	if merged != both || !bytes.Equal(merged.Append(nil), both.Append(nil)) {
		t.Error("two histograms together are not that of all durations")
	}
	if n := both.Total(); n != 1000 {
		t.Errorf("it has %d durations, want 1000", n)
	}
	full := Histogram{}
	for range 3 {
		full.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	}
	if n := full.Total(); n != 1<<32-1 {
		t.Errorf("a full bucket counts %d", n)
	}
}

func TestAllocations(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("Record allocates %v times", n)
	}
}

func FuzzAdd(f *testing.F) {
	var h Histogram
	h.Record(time.Second)
	f.Add(h.Append(nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var h, again Histogram
		h.Add(data)
		again.Add(h.Append(nil))
		if h != again {
			t.Errorf("%x is another histogram once encoded", data)
		}
		h.Quantile(0.99)
	})
}
