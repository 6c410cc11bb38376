package nft

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// listed is an element as the kernel lists it: in interval sets the beginning
// or the end of one.
type listed struct {
	key, data []byte
	end       bool
}

// elements lists a set, and notes either that it is as wanted or what is in it.
func (k *Conn) elements(have, want *Set) error {
	// The list is held to what is wanted as it comes; nothing is kept of it unless it differs.
	same, seen := !want.Interval, 0
	have.Elems = map[string]string{}
	var parts []listed
	ask := func(b *batch) {
		b.name(unix.NFTA_SET_ELEM_LIST_TABLE, b.table.Name)
		b.name(unix.NFTA_SET_ELEM_LIST_SET, have.Name)
	}
	err := k.list(&k.table, unix.NFT_MSG_GETSETELEM, ask, func(attrs []byte) error {
		return eachElement(attrs, func(e listed) {
			if same && want.holds(e) {
				seen++
				return
			}
			same = false
			e.key, e.data = slices.Clone(e.key), slices.Clone(e.data)
			parts = append(parts, e)
		})
	})
	switch {
	case err != nil:
		return err
	case want.Interval:
		have.join(parts)
		return nil
	case same && seen == len(want.Elems):
		have.Elems = want.Elems
		return nil
	case seen > 0: // some of those that were as wanted are not known any more: once more, keeping all
		have.Elems = make(map[string]string, len(want.Elems))
		return k.list(&k.table, unix.NFT_MSG_GETSETELEM, ask, func(attrs []byte) error {
			return eachElement(attrs, func(e listed) { have.Elems[string(e.key)] = have.valueText(e.data) })
		})
	}
	for _, e := range parts {
		have.Elems[string(e.key)] = have.valueText(e.data)
	}
	return nil
}

// holds says whether a set has an element, with its verdict.
func (s *Set) holds(e listed) bool {
	v, ok := s.Elems[string(e.key)]
	if s.Classes {
		return ok && v == string(e.data)
	}
	if !ok || v == "" || len(e.data) == 0 {
		return ok && v == "" && len(e.data) == 0
	}
	word, chain := verdictOf(e.data)
	rest, ok := strings.CutPrefix(v, word)
	return ok && strings.TrimPrefix(rest, " ") == string(chain)
}

func eachElement(attrs []byte, f func(listed)) error {
	return nested(attrs, func(kind uint16, list []byte) error {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return nested(list, func(_ uint16, item []byte) error {
			var e listed
			err := nested(item, func(kind uint16, v []byte) error {
				switch kind {
				case unix.NFTA_SET_ELEM_KEY:
					return nested(v, func(_ uint16, key []byte) error { e.key = key; return nil })
				case unix.NFTA_SET_ELEM_DATA:
					return nested(v, func(_ uint16, data []byte) error { e.data = data; return nil })
				case unix.NFTA_SET_ELEM_FLAGS:
					e.end = number(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
				}
				return nil
			})
			if len(e.key) > 0 { // the element for all others has none
				f(e)
			} else {
				f(listed{key: []byte("any other"), data: e.data})
			}
			return err
		})
	})
}

// join makes elements of the beginnings of intervals and their ends, which are
// one past the last, and missing where that is past everything.
func (s *Set) join(parts []listed) {
	slices.SortFunc(parts, func(a, b listed) int {
		return cmp.Or(slices.Compare(a.key, b.key), cmp.Compare(kindOf(a), kindOf(b)))
	})
	for i := range parts {
		if parts[i].end {
			continue
		}
		last := strings.Repeat("\xff", len(parts[i].key))
		if i+1 < len(parts) {
			last = before(parts[i+1].key)
		}
		s.Elems[string(parts[i].key)+last] = s.valueText(parts[i].data)
	}
}

// kindOf orders the end of an interval before the beginning of the next.
func kindOf(e listed) int {
	if e.end {
		return 0
	}
	return 1
}

// before is the number one less, in the same bytes.
func before(b []byte) string {
	out := slices.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i]--; out[i] != 0xff {
			break
		}
	}
	return string(out)
}

// valueText is what an element leads to as a ruleset has it, "" if nowhere.
func (s *Set) valueText(data []byte) string {
	if s.Classes {
		return string(data)
	}
	return verdictText(data)
}

// verdictText is a verdict as a ruleset has it, "" where there is none.
func verdictText(data []byte) string {
	if len(data) == 0 {
		return ""
	}
	word, chain := verdictOf(data)
	if len(chain) == 0 {
		return word
	}
	return word + " " + string(chain)
}

// verdictOf reads a verdict.
func verdictOf(data []byte) (word string, chain []byte) {
	word = "another"
	err := nested(data, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_VERDICT_CODE:
			for w, code := range verdictCodes {
				if int32(number(v)) == code {
					word = w
				}
			}
		case unix.NFTA_VERDICT_CHAIN:
			chain = bytes.TrimSuffix(v, []byte{0})
		}
		return nil
	})
	if err != nil {
		return "another", nil
	}
	return word, chain
}
