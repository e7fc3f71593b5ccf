package node

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
)

const (
	maxEntries = 10_000                    // of a folder that are shown
	notShown   = fs.ModeType &^ fs.ModeDir // neither a regular file nor a folder
)

var errNotShown = errors.New("neither a regular file nor a folder")

// logs shows the regular files and the folders below LogDir, and nothing else,
// wherever a path or a symlink leads. No browser executes what a log is called
// or holds: it is shown as plain text.
//
// A folder is listed even if it has an index.html, and the query is not looked
// at: the kubelet's NodeLogQuery is off by default (Run of
// pkg/kubelet/kubelet.go).
func (a API) logs(w http.ResponseWriter, r *http.Request) {
	file, info, err := a.openLog(cmp.Or(r.PathValue("path"), "."))
	if err != nil {
		a.refuseLog(w, r, err)
		return
	}
	defer file.Close()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", plainText)
	switch {
	case !info.IsDir():
		http.ServeContent(w, r, "", info.ModTime(), file)
	case strings.HasSuffix(r.URL.Path, "/"):
		a.listLogs(w, r, file)
	default:
		w.Header().Set("Location", link(info.Name()+"/"))
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// openLog opens a regular file or a folder below LogDir. Anything else is
// refused without being opened: to open a FIFO waits for a writer, and to open a
// device may set off anything. Should one take the place of a file in between,
// opening it does not wait.
func (a API) openLog(name string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(a.LogDir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil || info.Mode()&notShown != 0 {
		return nil, nil, cmp.Or(err, errNotShown)
	}
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = file.Stat(); err != nil || info.Mode()&notShown != 0 {
		file.Close()
		return nil, nil, cmp.Or(err, errNotShown)
	}
	return file, info, nil
}

// refuseLog answers 404 whether there is nothing, or nothing that may be shown.
func (a API) refuseLog(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		a.logger().Warn("Cannot show a log", "path", fmt.Sprintf("%.1024s", r.URL.Path), "err", fmt.Sprintf("%.1024s", err))
	}
	http.NotFound(w, r)
}

// listLogs links to the entries of a folder, sorted by name. Of more than
// maxEntries, it shows as many as the system names first.
func (a API) listLogs(w http.ResponseWriter, r *http.Request, dir *os.File) {
	entries, err := dir.ReadDir(maxEntries + 1)
	if err != nil && err != io.EOF {
		a.refuseLog(w, r, err)
		return
	}
	shown := entries[:min(len(entries), maxEntries)]
	slices.SortFunc(shown, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!doctype html>\n<pre>\n")
	for _, entry := range shown {
		_, name, _ := strings.Cut(fs.FormatDirEntry(entry), " ") // with a slash if it is a folder's
		text := fmt.Sprintf("%q", name)                          // shows what cannot be seen
		fmt.Fprintf(w, "<a href=\"%s\">%s</a>\n", html.EscapeString(link(name)), html.EscapeString(text[1:len(text)-1]))
	}
	if len(entries) > len(shown) {
		fmt.Fprintf(w, "There are more than these %d entries.\n", maxEntries)
	}
	fmt.Fprint(w, "</pre>\n")
}

// link is a reference to an entry of the folder that is shown.
func link(name string) string { return (&url.URL{Path: name}).String() }
