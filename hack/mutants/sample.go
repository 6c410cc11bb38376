package main

import (
	"cmp"
	"fmt"
	"slices"
)

// A mutant is a site of the sample.
type mutant struct {
	site
	id  uint32
	pkg *sourcePackage
	// alone is set if the mutant cannot stand behind a switch, as where a constant is
	// wanted: its tests are built for it.
	alone bool
}

func (m mutant) String() string {
	kind := ""
	if m.alone {
		kind = ", built alone"
	}
	return fmt.Sprintf("%08x %s%s", m.id, m.site, kind)
}

// takeSample returns the first n mutants of a seed that compile.
func takeSample(packages []*sourcePackage, seed uint64, n int) []mutant {
	var all []mutant
	for _, p := range packages {
		for _, s := range p.sites() {
			all = append(all, mutant{site: s, id: s.id(seed), pkg: p})
		}
	}
	slices.SortFunc(all, func(a, b mutant) int { return cmp.Compare(a.id, b.id) })
	var sample []mutant
	for _, m := range all {
		if len(sample) == n {
			break
		}
		file := m.fileIndex()
		if m.id == 0 || !m.pkg.compiles(file, m.apply(m.pkg.src[file])) {
			continue
		}
		m.alone = !m.pkg.compiles(file, newRewriter(m.pkg, file, []mutant{m}).file(m.pkg.parsed[file]))
		sample = append(sample, m)
	}
	return sample
}

// fileIndex returns which file of its package the mutant is in.
func (m mutant) fileIndex() int {
	return slices.IndexFunc(m.pkg.names, func(name string) bool { return m.file == m.pkg.dir+"/"+name })
}
