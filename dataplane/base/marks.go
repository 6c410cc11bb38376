package base

import "github.com/tierwall/tierwall/policy/model"

// Marks are the two bits of the packet mark that are Tierwall's while a packet is
// within its chains: Accepted says that a tier has accepted, Early that an
// untracked or preDNAT policy has, so that later hooks leave out the host
// endpoint's other policies. Both are cleared at the end. 0 means those of the
// State's Settings.
type Marks struct{ Accepted, Early uint32 }

// With takes the bits from the settings where they are left open; nil: the defaults.
func (m Marks) With(s *model.Settings) Marks {
	if m.Accepted == 0 || m.Early == 0 {
		m.Accepted, m.Early = s.MarkBits()
	}
	return m
}

// Bits returns the bits of a Mark.
func (m Marks) Bits(of Mark) (bits uint32) {
	if of&Accepted != 0 {
		bits |= m.Accepted
	}
	if of&Early != 0 {
		bits |= m.Early
	}
	return bits
}
