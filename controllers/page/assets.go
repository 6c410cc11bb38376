package page

import (
	"bytes"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// withoutPage is shown by a binary that was built without the page.
const withoutPage = `This build of tierwall does not contain the page: its files (ui/dist) were removed before it was built.

To get it, build tierwall from a full checkout (the built page is part of the repository), or build
the page with Node 20: make ui, then make build.

Everything else works: tierwall explain, matrix, diff, who-can and the others answer the same
questions in a terminal, and the queries of the page (/ui/v1/) are served here too.
`

// assets serves the files of the page. Their paths are relative, and the state of a view is
// in the fragment, so that the page works below any path.
func assets(files fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			fail(w, http.StatusMethodNotAllowed, "the page is only read")
			return
		}
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		if name == "" {
			name = "index.html"
		}
		if files == nil || !hasPage(files) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = w.Write([]byte(withoutPage))
			return
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			fail(w, http.StatusNotFound, r.URL.Path+" is no part of the page")
			return
		}
		if t := mime.TypeByExtension(path.Ext(name)); t != "" {
			w.Header().Set("Content-Type", t)
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	})
}

func hasPage(files fs.FS) bool {
	_, err := fs.Stat(files, "index.html")
	return err == nil
}
