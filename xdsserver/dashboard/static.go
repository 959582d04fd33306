package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed all:dist
var dist embed.FS

// minGzip is the size from which a file is worth compressing, in bytes.
const minGzip = 1 << 10

// A page is one file as it is sent.
type page struct {
	kind      string // its MIME type
	etag      string
	plain     []byte
	gzipped   []byte // nil where it would not be smaller
	immutable bool   // its name says what is in it
}

// pages are the files by their paths: what is not in the map is not served, whatever a
// path looks like.
type pages struct{ files map[string]*page }

// loadPages reads and compresses dist, when it is first asked for.
func loadPages() func() *pages {
	return sync.OnceValue(func() *pages {
		p := &pages{files: map[string]*page{}}
		root, err := fs.Sub(dist, "dist")
		if err != nil {
			return p // no path of ours is bad
		}
		_ = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Base(name)[0] == '.' {
				return err
			}
			content, err := fs.ReadFile(root, name)
			if err == nil {
				p.files["/"+name] = newPage(name, content)
			}
			return err
		})
		return p
	})
}

// kinds are the MIME types of what a build makes: those of the system may differ.
var kinds = map[string]string{
	".html":  "text/html; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".svg":   "image/svg+xml",
	".json":  "application/json",
	".woff2": "font/woff2",
}

func newPage(name string, content []byte) *page {
	sum := sha256.Sum256(content)
	p := &page{
		kind:      kinds[path.Ext(name)],
		etag:      hex.EncodeToString(sum[:12]),
		plain:     content,
		immutable: strings.HasPrefix(name, "assets/"),
	}
	if p.kind == "" {
		if p.kind = mime.TypeByExtension(path.Ext(name)); p.kind == "" {
			p.kind = "application/octet-stream"
		}
	}
	if len(content) < minGzip {
		return p
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return p
	}
	_, _ = w.Write(content) // to memory
	_ = w.Close()
	if b.Len() < len(content) {
		p.gzipped = b.Bytes()
	}
	return p
}

// servePage serves the files of the page to who has a session.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	if s.session(r) == nil {
		if r.URL.Path == "/" {
			sayLogin(w, http.StatusUnauthorized, sayEnter)
			return
		}
		http.Error(w, "no session: run 'xdsserver dashboard'", http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the page is read only", http.StatusMethodNotAllowed)
		return
	}
	name := r.URL.Path
	if name == "/" {
		name = "/index.html"
	}
	p := s.pages().files[name]
	if p == nil {
		http.NotFound(w, r)
		return
	}
	p.serve(w, r)
}

func (p *page) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", p.kind)
	if p.immutable {
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	content, etag := p.plain, `"`+p.etag+`"`
	if p.gzipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			content, etag = p.gzipped, `"`+p.etag+`-gzip"`
		}
	}
	h.Set("ETag", etag)
	if p.immutable && strings.Contains(r.Header.Get("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(content)
}

// takesGzip reads Accept-Encoding (RFC 9110, section 12.5.3) as far as browsers write it.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) == "gzip" {
			q = strings.ReplaceAll(q, " ", "")
			return q != "q=0" && !strings.HasPrefix(q, "q=0.000")
		}
	}
	return false
}
