package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A request asks for an image of the files whose names begin with Prefix, in
// the directory Dir.
type request struct {
	Prefix string
	Dir    string
	Seed   uint64
	// Forget is set if the image has nothing that was not synced.
	Forget bool
}

// An image counts what became of writes that were not synced.
type image struct {
	Kept, Dropped, Torn int
	Error               string
}

// sector is the size that a disk writes atomically.
const sector = 512

// image writes files as a power cut may leave them: the synced content, and of
// each later write all, nothing or some sectors.
func (d *dir) image(r request) (i image, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	random := rand.New(rand.NewPCG(r.Seed, 1))
	names := make([]string, 0, len(d.files))
	for name := range d.files {
		names = append(names, name)
	}
	slices.Sort(names)
	// Some images keep most writes, some keep few.
	keep := random.Float64()
	put := func(f *file) error {
		content := slices.Clone(f.disk)
		for _, w := range f.pending {
			content = i.cut(w, content, random, keep, r.Forget)
		}
		return os.WriteFile(filepath.Join(r.Dir, f.name), content, 0o600)
	}
	for _, name := range names {
		f := d.files[name]
		// Shared memory is not on a disk.
		if !strings.HasPrefix(name, r.Prefix) || strings.HasSuffix(name, "-shm") {
			continue
		}
		if !f.entered && (r.Forget || random.IntN(2) == 0) {
			continue
		}
		if err := put(f); err != nil {
			return i, err
		}
	}
	for _, f := range d.gone {
		if strings.HasPrefix(f.name, r.Prefix) && !strings.HasSuffix(f.name, "-shm") && d.files[f.name] == nil && random.IntN(2) == 0 {
			if err := put(f); err != nil {
				return i, err
			}
		}
	}
	return i, nil
}

// cut returns the content after a write that was not synced.
func (i *image) cut(w write, content []byte, random *rand.Rand, keep float64, forget bool) []byte {
	switch x := random.Float64(); {
	case forget || x > keep && random.IntN(3) > 0:
		i.Dropped++
		return content
	case x <= keep || w.data == nil:
		i.Kept++
		return w.apply(content)
	}
	i.Torn++
	for off := 0; off < len(w.data); {
		// Up to the end of the sector in the file.
		n := min(len(w.data)-off, sector-int(w.off+int64(off))%sector)
		if random.IntN(2) == 0 {
			content = write{w.off + int64(off), w.data[off : off+n]}.apply(content)
		}
		off += n
	}
	return content
}
