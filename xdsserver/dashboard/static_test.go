package dashboard

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPagesAreSentOnceAndSmall(t *testing.T) {
	content := []byte(strings.Repeat("let x = 1;\n", 500))
	asset, index, icon := newPage("assets/index-abc.js", content), newPage("index.html", content), newPage("assets/icon.svg", []byte("<svg/>"))
	ask := func(p *page, change func(http.Header)) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		w.Header().Set("Cache-Control", "no-store") // as guard does
		change(r.Header)
		p.serve(w, r)
		return w
	}
	nothing := func(http.Header) {}
	zipped := func(h http.Header) { h.Set("Accept-Encoding", "br;q=1.0, gzip;q=0.8, *;q=0.1") }

	plain, small := ask(asset, nothing), ask(asset, zipped)
	if got := plain.Header(); got.Get("Content-Type") != "text/javascript; charset=utf-8" || !strings.Contains(got.Get("Cache-Control"), "immutable") ||
		got.Get("Vary") != "Accept-Encoding" || got.Get("Content-Encoding") != "" || !bytes.Equal(plain.Body.Bytes(), content) {
		t.Errorf("plain: got %v", got)
	}
	if small.Header().Get("Content-Encoding") != "gzip" || small.Body.Len() > len(content)/10 || small.Header().Get("ETag") == plain.Header().Get("ETag") {
		t.Errorf("compressed: got %v, %d bytes", small.Header(), small.Body.Len())
	}
	r, err := gzip.NewReader(small.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		t.Errorf("compressed, it is another: %v", err)
	}
	again := ask(asset, func(h http.Header) { zipped(h); h.Set("If-None-Match", small.Header().Get("ETag")) })
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("a second time: got %d and %d bytes, want 304", again.Code, again.Body.Len())
	}
	if other := ask(asset, func(h http.Header) { h.Set("If-None-Match", small.Header().Get("ETag")) }); other.Code != http.StatusOK {
		t.Errorf("the one that is not compressed: got %d, want 200", other.Code)
	}
	if got := ask(index, func(h http.Header) { h.Set("If-None-Match", `"`+index.etag+`"`) }); got.Code != http.StatusOK || got.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("the page itself: got %d, %v", got.Code, got.Header())
	}
	if got := ask(icon, zipped); got.Header().Get("Content-Encoding") != "" || got.Header().Get("Content-Type") != "image/svg+xml" {
		t.Errorf("a small one: got %v", got.Header())
	}
	for _, refused := range []string{"", "br", "gzip;q=0", "gzip; q=0.000", "xgzip"} {
		if takesGzip(refused) {
			t.Errorf("%q is taken for one that takes gzip", refused)
		}
	}
}

// What is embedded is a page, and nothing in it wants what the policy forbids.
func TestWhatIsEmbeddedIsThePage(t *testing.T) {
	p := loadPages()()
	index := p.files["/index.html"]
	if index == nil {
		t.Fatal("there is no index.html: build the page in web")
	}
	size := 0
	for name, f := range p.files {
		if f.gzipped != nil {
			size += len(f.gzipped)
		} else {
			size += len(f.plain)
		}
		if strings.HasSuffix(name, ".map") {
			t.Errorf("%s is for who works on the page", name)
		}
	}
	if size > 250_000 {
		t.Errorf("it has %d bytes compressed, want at most 250 kB", size)
	}
	text := string(index.plain)
	for _, inline := range []string{"<style", " style=", " onload=", "javascript:"} {
		if strings.Contains(text, inline) {
			t.Errorf("index.html has %s, which the policy refuses", inline)
		}
	}
	for part := range strings.SplitSeq(text, `="/assets/`) {
		name, _, ok := strings.Cut(part, `"`)
		if ok && !strings.Contains(part, "<!doctype") && p.files["/assets/"+name] == nil {
			t.Errorf("index.html names %s, which is not there", name)
		}
	}
}
