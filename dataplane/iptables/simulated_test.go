package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// simulated is a kernel that says after each step that packets could see what
// becomes of them. It knows the matches and targets that rules of ours have.
type simulated struct {
	held     map[string]*simulatedSet
	families map[dataplane.Family]map[string]map[string][]simulatedRule // by table and chain
	// look is called after each step.
	look func(step string)
	// missing are tables, and families, that the kernel does not have: "IPv6", "IPv4 raw".
	missing []string
}

var _ kernel = (*simulated)(nil)

type simulatedSet struct {
	kind  string
	elems map[elem]bool
}

// packet is the first of a connection.
type packet struct {
	model.Flow
	local      bool // the source is the node's own
	mark       uint32
	iface, out string
	port       string // of a bridge, by which it comes
}

// simulatedRule says whether a packet matches, and where it goes then.
type simulatedRule struct {
	text    string
	matches []func(*packet) bool
	to      string // target, or chain
	goes    bool   // by -g
	value   string // of MARK
}

func newSimulated() *simulated {
	return &simulated{held: map[string]*simulatedSet{}, look: func(string) {}, families: map[dataplane.Family]map[string]map[string][]simulatedRule{
		dataplane.IPv4: {}, dataplane.IPv6: {},
	}}
}

func (k *simulated) rules(_ context.Context, f dataplane.Family) (map[string]*tableShape, error) {
	if slices.Contains(k.missing, f.String()) {
		return nil, fmt.Errorf("%s: %w", f, errRefused)
	}
	return map[string]*tableShape{}, nil
}
func (k *simulated) sets() (map[string]*ipset, error) { return map[string]*ipset{}, nil }
func (k *simulated) settle()                          {}

func (k *simulated) createSet(s *ipset) error {
	if k.held[s.name] != nil {
		return fmt.Errorf("set %s is there", s.name)
	}
	k.held[s.name] = &simulatedSet{s.kind, map[elem]bool{}}
	for _, e := range s.elems {
		k.held[s.name].elems[e] = true
	}
	k.look("create " + s.name)
	return nil
}

func (k *simulated) changeSet(s *ipset, elems []elem, add bool) error {
	for _, e := range elems {
		if add {
			k.held[s.name].elems[e] = true
		} else {
			delete(k.held[s.name].elems, e)
		}
		k.look(fmt.Sprintf("%s %v %v", s.name, e, add))
	}
	return nil
}

func (k *simulated) destroySet(name string) error {
	for _, tables := range k.families {
		for _, chains := range tables {
			for _, rules := range chains {
				for _, r := range rules {
					if strings.Contains(r.text, "--match-set "+name+" ") {
						return errBusy
					}
				}
			}
		}
	}
	delete(k.held, name)
	return nil
}

// restore takes what iptables-restore --noflush would, one table at a time.
func (k *simulated) restore(_ context.Context, f dataplane.Family, text string) error {
	var chains map[string][]simulatedRule
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		chain, rest, _ := strings.Cut(rest, " ")
		switch {
		case strings.HasPrefix(line, "*"):
			table, chains = line[1:], map[string][]simulatedRule{}
			if slices.Contains(k.missing, f.String()) || slices.Contains(k.missing, f.String()+" "+table) {
				return fmt.Errorf("no table %s: %w", table, errRefused)
			}
			for name, rules := range k.families[f][table] {
				chains[name] = slices.Clone(rules)
			}
		case strings.HasPrefix(line, ":"):
			chains[word[1:]] = nil
		case line == "COMMIT":
			k.families[f][table] = chains
			k.look(fmt.Sprintf("%s %s", f, table))
		case word == "-X":
			delete(chains, chain)
		case word == "-A":
			chains[chain] = append(chains[chain], k.rule(rest))
		case word == "-I":
			number, rest, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(number)
			if err != nil || n > len(chains[chain])+1 {
				return fmt.Errorf("%q: no such place", line)
			}
			chains[chain] = slices.Insert(chains[chain], n-1, k.rule(rest))
		case word == "-D":
			if n, err := strconv.Atoi(rest); err == nil {
				chains[chain] = slices.Delete(chains[chain], n-1, n)
				break
			}
			i := slices.IndexFunc(chains[chain], func(r simulatedRule) bool { return r.text == rest })
			if i < 0 {
				return fmt.Errorf("%q: no such rule", line)
			}
			chains[chain] = slices.Delete(chains[chain], i, i+1)
		default:
			return fmt.Errorf("%q is not understood", line)
		}
	}
	return nil
}

var words = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\S+`)

// rule reads a rule.
func (k *simulated) rule(text string) simulatedRule {
	r := simulatedRule{text: text}
	list := words.FindAllString(text, -1)
	not := false
	next := func() string {
		w := list[0]
		list = list[1:]
		return strings.Trim(w, `"`)
	}
	add := func(match func(*packet) bool) {
		turned := not
		r.matches = append(r.matches, func(p *packet) bool { return match(p) != turned })
		not = false
	}
	for len(list) > 0 {
		switch w := next(); w {
		case "!":
			not = true
		case "-m", "--exist", "only", "--timeout":
			if w == "-m" || w == "--timeout" {
				next()
			}
		case "--comment", "--nflog-group", "--nflog-prefix", "--reject-with":
			next()
		case "--notrack":
		case "--physdev-is-bridged": // none leaves by a port
			add(func(*packet) bool { return false })
		case "--physdev-is-in":
			add(func(p *packet) bool { return p.port != "" })
		case "--add-set":
			_, _ = next(), next()
		case "-j", "-g":
			r.to, r.goes = next(), w == "-g"
		case "--set-xmark":
			r.value = next()
		default:
			value := next()
			if w == "--match-set" || w == "--tcp-flags" || w == "--add-set" || w == "--chunk-types" {
				value += " " + next()
			}
			add(k.match(w, value))
		}
	}
	return r
}

// match reads one match. What packets of the simulation never are is never matched.
func (k *simulated) match(name, value string) func(*packet) bool {
	switch name {
	case "-p":
		return func(p *packet) bool { return fmt.Sprint(uint8(p.Protocol)) == value }
	case "-s", "-d":
		net, err := netip.ParsePrefix(value)
		if err != nil {
			a := netip.MustParseAddr(value)
			net = netip.PrefixFrom(a, a.BitLen())
		}
		return func(p *packet) bool {
			return name == "-s" && net.Contains(p.Src) || name == "-d" && net.Contains(p.Dst)
		}
	case "-i":
		return func(p *packet) bool { return p.iface == value }
	case "--physdev-in":
		return func(p *packet) bool { return p.port == value }
	case "--physdev-out":
		return func(*packet) bool { return false }
	case "-o":
		return func(p *packet) bool { return p.out == value }
	case "--match-set":
		set, direction, _ := strings.Cut(value, " ")
		return func(p *packet) bool { return k.held[set].has(p, direction) }
	case "--sports", "--dports":
		return func(p *packet) bool { return p.Protocol.HasPorts() && inPorts(value, p, name == "--sports") }
	case "--icmp-type", "--icmpv6-type":
		return func(p *packet) bool {
			return value == fmt.Sprint(p.ICMPType) || value == fmt.Sprintf("%d/%d", p.ICMPType, p.ICMPCode)
		}
	case "--u32":
		return func(p *packet) bool {
			return value == "0>>22&0x3C@0>>24="+fmt.Sprint(p.ICMPType) || value == "0>>22&0x3C@0>>16="+fmt.Sprint(int(p.ICMPType)<<8|int(p.ICMPCode))
		}
	case "--mark":
		bits, mask := maskOf(value)
		return func(p *packet) bool { return p.mark&mask == bits }
	case "--ctstate":
		return func(*packet) bool { return strings.HasPrefix(value, "NEW") }
	case "--tcp-flags":
		return func(*packet) bool { return true } // a SYN
	case "--hl-eq":
		return func(*packet) bool { return false }
	case "--src-type":
		return func(p *packet) bool { return p.local }
	case "--chunk-types":
		return func(*packet) bool { return false }
	case "--dst-type":
		return func(*packet) bool { return false }
	}
	panic("match " + name + " is not known")
}

func maskOf(value string) (bits, mask uint32) {
	b, m, _ := strings.Cut(value, "/")
	x, err := strconv.ParseUint(b, 0, 32)
	y, err2 := strconv.ParseUint(m, 0, 32)
	if err != nil || err2 != nil {
		panic(value)
	}
	return uint32(x), uint32(y)
}

func inPorts(list string, p *packet, source bool) bool {
	port := int(p.DstPort)
	if source {
		port = int(p.SrcPort)
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, ok := strings.Cut(part, ":")
		if !ok {
			last = first
		}
		a, _ := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		if a <= port && port <= b {
			return true
		}
	}
	return false
}

func (s *simulatedSet) has(p *packet, direction string) bool {
	a, port := p.Src, p.SrcPort
	if strings.HasPrefix(direction, "dst") {
		a, port = p.Dst, p.DstPort
	}
	switch s.kind {
	case typePorts:
		return p.Protocol.HasPorts() && s.elems[elem{net: netip.PrefixFrom(a, a.BitLen()), protocol: p.Protocol, port: port}]
	case typeFlows:
		return false
	case typeAddrs:
		return s.elems[single(a)]
	}
	for e := range s.elems {
		if e.net.Contains(a) && (e.link == "" || e.link == p.iface) {
			return true
		}
	}
	return false
}

// passes says whether a packet passes built-in chains in turn, each of a table.
func (k *simulated) passes(p packet, hooks ...[2]string) bool {
	tables := k.families[dataplane.FamilyOf(p.Src)]
	for _, h := range hooks {
		if chains := tables[h[0]]; chains != nil && !run(chains, h[1], &p) {
			return false
		}
	}
	return true
}

// run sends a packet through a chain, and says whether it comes out.
func run(chains map[string][]simulatedRule, chain string, p *packet) bool {
rules:
	for i := range chains[chain] {
		r := &chains[chain][i]
		for _, m := range r.matches {
			if !m(p) {
				continue rules
			}
		}
		switch r.to {
		case "DROP", "REJECT":
			return false
		case "RETURN":
			return true
		case "", "CT", "NFLOG":
		case "MARK":
			bits, mask := maskOf(r.value)
			p.mark = p.mark&^mask ^ bits
		default:
			if _, ok := chains[r.to]; !ok {
				panic("chain " + chain + " leads to " + r.to)
			}
			if out := run(chains, r.to, p); r.goes || !out {
				return out
			}
		}
	}
	return true
}
