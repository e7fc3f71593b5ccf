package main

import (
	"fmt"
	"io"
	"strings"
)

// table writes Markdown.
type table struct{ io.Writer }

// head begins a table. The first column is text, the others are figures.
func (t *table) head(columns ...string) {
	fmt.Fprintln(t)
	t.row(columns...)
	fmt.Fprintln(t, "|---|"+strings.Repeat("---:|", len(columns)-2)+"---|")
}

func (t *table) row(cells ...string) { fmt.Fprintln(t, "| "+strings.Join(cells, " | ")+" |") }

// say writes a paragraph.
func (t *table) say(format string, args ...any) { fmt.Fprintf(t, "\n"+format+"\n", args...) }

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "falls short"
}

// nanos writes a duration with three digits.
func nanos(n float64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%.3g ns", n)
	case n < 1e6:
		return fmt.Sprintf("%.3g µs", n/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.3g ms", n/1e6)
	}
	return fmt.Sprintf("%.3g s", n/1e9)
}
