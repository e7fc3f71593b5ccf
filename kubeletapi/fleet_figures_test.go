package kubeletapi

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

const fleetDocument = "../testdata/fleet/README.md"

// documentRows are those of the tables in the document, by their first cell.
// Where a name has several, they are in the document's order.
func documentRows(t *testing.T) map[string][][]string {
	content, err := os.ReadFile(fleetDocument)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][][]string{}
	for line := range strings.Lines(string(content)) {
		if line, ok := strings.CutPrefix(strings.TrimSpace(line), "| "); ok {
			cells := strings.Split(strings.TrimSuffix(line, " |"), " | ")
			rows[cells[0]] = append(rows[cells[0]], cells[1:])
		}
	}
	return rows
}

// checkFigures compares what was measured with the document.
func checkFigures(t *testing.T, got, kubelet map[string]phase) {
	rows := documentRows(t)
	for _, f := range fleetPhases {
		if len(rows[f.name]) == 0 || len(rows[f.name][0]) != 9 {
			t.Errorf("%s has no row for %s", fleetDocument, f.name)
			continue
		}
		a, b := got[f.name], kubelet[f.name]
		for i, measured := range []float64{a.asked, a.waited, a.mean, a.peak, b.waited, b.mean, b.peak} {
			var said float64
			fmt.Sscan(rows[f.name][0][2+i], &said)
			if math.Abs(measured-said) > said/4+20 {
				t.Errorf("%s, %s, figure %d: %.0f was measured, and the document says %.0f", fleetDocument, f.name, i+1, measured, said)
			}
		}
	}
}

// What the document makes of its figures, and of the constants, is right.
func TestFleetDocument(t *testing.T) {
	rows := documentRows(t)
	for _, f := range fleetPhases {
		measured := rows[f.name]
		if len(measured) == 0 {
			t.Errorf("no row for %s", f.name)
			continue
		}
		if from, to := clockTime(f.from), clockTime(f.to); measured[0][0] != from || measured[0][1] != to {
			t.Errorf("%s is from %s to %s", f.name, from, to)
		}
		if len(measured) == 1 {
			continue
		}
		var mean, peak int
		fmt.Sscan(measured[0][4], &mean)
		fmt.Sscan(measured[0][5], &peak)
		for i, factor := range []int{1, 5, 50} {
			if want := fmt.Sprintf("%d, %d", factor*mean, factor*peak); measured[1][i] != want {
				t.Errorf("%s: %s in column %d of the larger fleets, and %s are %d times the measured", f.name, measured[1][i], i+1, want, factor)
			}
		}
	}
	for i, nodes := range []float64{1000, 5000, 50_000} {
		if want := fmt.Sprintf("%.0f", nodes*fleetMost); rows["at most, by the second bound"][0][i] != want {
			t.Errorf("the bound for %.0f nodes is %s", nodes, want)
		}
	}
	content, _ := os.ReadFile(fleetDocument)
	text := strings.Join(strings.Fields(string(content)), " ")
	perMinute := 0
	for _, s := range scrapers {
		perMinute += len(s.paths) * int(time.Minute/s.every)
	}
	longer := tokensPerNode/480. + decisionsPerNode/240. + 1/30.
	for _, want := range []string{
		fmt.Sprintf("Each node is asked %d times a minute", perMinute),
		fmt.Sprintf("for %s minutes of synthetic time", clockTime(fleetEnd)),
		fmt.Sprintf("%d tokens, %d decisions", tokensPerNode, decisionsPerNode),
		fmt.Sprintf("so %d reviews in a minute", reviewsToStart),
		fmt.Sprintf("= %.3f reviews a second", fleetMost),
		fmt.Sprintf("= %.3f a second for each node at most, and %d,%03d for 50,000", longer, int(50_000*longer)/1000, int(50_000*longer)%1000),
		fmt.Sprintf("A start costs %d reviews of each node", tokensPerNode+decisionsPerNode),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the document does not say %q", want)
		}
	}
}

func clockTime(d time.Duration) string {
	return fmt.Sprintf("%d:%02d", d/time.Minute, d%time.Minute/time.Second)
}
