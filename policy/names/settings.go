package names

// Configure changes the Options. What is known already stays for as long as it was to;
// where there is more of it than is allowed now, it makes room when something new comes.
func (t *Table) Configure(o Options) {
	o = o.withDefaults()
	o.MaxNamesPerWildcard = min(o.MaxNamesPerWildcard, 1<<16-1) // counts are that large
	t.opts = o
}

// Known returns the addresses of a name, sorted.
func (t *Table) Known(name string) []Known {
	e := t.names[name]
	if e == nil {
		return nil
	}
	out := make([]Known, 0, len(e.records))
	for _, r := range e.records {
		out = append(out, e.known(r))
	}
	return out
}
