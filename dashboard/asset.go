package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed asset template
var files embed.FS

// An asset is a file that pages refer to. Its URL changes with its content.
type asset struct {
	data, zipped []byte
	kind, hash   string
}

// kinds are the media types of assets. A system's table may have others.
var kinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// once holds what is loaded for the first dashboard. It is not loaded when the program
// starts: the linker then leaves it out of programs without a dashboard, although they
// import this package.
var once struct {
	assets, templates sync.Once
	assetsByName      map[string]*asset
	templatesByFile   map[string]*template.Template
}

// assets are by name.
func assets() map[string]*asset {
	once.assets.Do(func() { once.assetsByName = loadAssets() })
	return once.assetsByName
}

func loadAssets() map[string]*asset {
	all := map[string]*asset{}
	entries, err := files.ReadDir("asset")
	if err != nil {
		panic(err) // the binary has it
	}
	for _, e := range entries {
		data, err := files.ReadFile("asset/" + e.Name())
		if err != nil {
			panic(err)
		}
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level exists
		_, _ = z.Write(data)
		_ = z.Close()
		all[e.Name()] = &asset{
			data: data, zipped: b.Bytes(), hash: fmt.Sprintf("%x", sha256.Sum256(data))[:12],
			kind: kinds[path.Ext(e.Name())],
		}
	}
	return all
}

// serve serves the file, which holds nothing of the queue. A client may keep it while its
// URL has its hash.
func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	if r.URL.Query().Get("v") == a.hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	data := a.data
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		data = a.zipped
	}
	_, _ = w.Write(data) // an error is the client's
}

// assetURL returns the relative URL of an asset.
func assetURL(name string) string { return name + "?v=" + assets()[name].hash }
