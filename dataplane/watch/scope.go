package watch

// Scope is a table, or some chains of it, whose changes are news.
type Scope struct {
	// Family of the table, an NFPROTO constant: 1 inet, 2 IPv4, 10 IPv6.
	Family byte
	Table  string
	// Chain reports whether changes of a chain, and of rules in it, are news; those of
	// the table itself always are, those of sets are not. Nil: all of the table's are.
	Chain func(name string) bool
}
