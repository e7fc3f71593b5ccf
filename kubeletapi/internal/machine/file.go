package machine

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxFile is how many bytes a file may have. /proc/cpuinfo has some 1,500 for
// each CPU.
const maxFile = 4 << 20

// path is where a path of the machine is.
func (r *Reader) path(path string) string { return filepath.Join(r.Root+"/", filepath.FromSlash(path)) }

// read returns the content of a file, and nothing if it is not a regular one (a
// FIFO would block) or too long.
func (r *Reader) read(path string) string {
	if info, err := os.Stat(r.path(path)); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, _ := os.Open(r.path(path)) // of nil, nothing can be read
	defer f.Close()
	if content, err := io.ReadAll(io.LimitReader(f, maxFile+1)); err == nil && len(content) <= maxFile {
		return string(content)
	}
	return ""
}

// first is the first of these files that says something, without white space
// around it.
func (r *Reader) first(paths ...string) string {
	for _, path := range paths {
		if text := strings.Trim(r.read(path), " \t\n\x00"); text != "" {
			return text
		}
	}
	return ""
}

// lines are the fields of each line of a file. A last line that does not end
// was cut off, and is none.
func (r *Reader) lines(path string) (lines [][]string) {
	for line := range strings.Lines(r.read(path)) {
		if f := strings.Fields(line); strings.HasSuffix(line, "\n") && len(f) > 0 {
			lines = append(lines, f)
		}
	}
	return lines
}

// table is a file of lines like "key 1", "key: 1 kB" or "Node 0 key: 1 kB".
func (r *Reader) table(path string) map[string]*uint64 {
	t := map[string]*uint64{}
	for _, f := range r.lines(path) {
		rest, unit := len(f), uint64(1)
		if f[rest-1] == "kB" {
			rest, unit = rest-1, 1024
		}
		if rest > 1 {
			t[strings.TrimSuffix(f[rest-2], ":")] = times(number(f[rest-1]), unit)
		}
	}
	return t
}

// names are the entries of a folder, in order.
func (r *Reader) names(path string) []string {
	f, _ := os.Open(r.path(path) + "/") // a FIFO is none, and does not block
	defer f.Close()
	names, _ := f.Readdirnames(1 << 16)
	return slices.Sorted(slices.Values(names))
}

// between is the text between two others.
func between(text, before, after string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, after)
	return strings.TrimSpace(text)
}

func hasPrefix(text string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(text, prefix) })
}

// The arithmetic of what may not be known: nil is unknown, and so is what would
// overflow.

func (r *Reader) number(path string) *uint64 { return number(r.first(path)) }

func number(text string) *uint64 {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return &n
	}
	return nil
}

func times(n *uint64, factor uint64) *uint64 {
	if n == nil || *n > math.MaxUint64/factor {
		return nil
	}
	return new(*n * factor)
}

// less is the difference, or 0 if b is greater.
func less(a, b *uint64) *uint64 {
	if a == nil || b == nil {
		return nil
	}
	return new(*a - min(*a, *b))
}

// least is the lesser of those that are known.
func least(a, b *uint64) *uint64 {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}
