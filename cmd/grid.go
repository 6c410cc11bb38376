package cmd

import (
	"fmt"
	"io"
	"strconv"

	"github.com/tierwall/tierwall/policy/reach"
)

// grid is who reaches whom, as people see it: a row for each sender, a column for
// each receiver.
type grid struct {
	from, to []string
	cells    [][]reach.Share // by from and to
	legend   [3]string       // of reach.ShareAll, reach.ShareSome and reach.ShareNone
}

// print draws the grid; columns are numbered as the rows of that name are.
func (g *grid) print(w io.Writer, paint colours) error {
	number := map[string]int{}
	for i, name := range g.to {
		number[name] = i + 1
	}
	var t table
	head := []string{"", paint.dim("from \\ to")}
	for j := range g.to {
		head = append(head, paint.dim(strconv.Itoa(j+1)))
	}
	t.row(head...)
	for i, from := range g.from {
		n := ""
		if number[from] > 0 {
			n = strconv.Itoa(number[from])
		}
		row := []string{paint.dim(n), plain(from)}
		for j := range g.to {
			row = append(row, mark(g.cells[i][j], paint))
		}
		t.row(row...)
	}
	if err := t.writeTo(w, "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "  %s %s  %s %s  %s %s\n", paint.green("●"), g.legend[0], paint.yellow("◐"), g.legend[1], paint.red("·"), g.legend[2])
	return err
}

func mark(s reach.Share, paint colours) string {
	switch s {
	case reach.ShareAll:
		return paint.green("●")
	case reach.ShareSome:
		return paint.yellow("◐")
	case reach.ShareNone:
		return paint.red("·")
	}
	return ""
}
