package flows

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

// Limits of a page of records.
const (
	DefaultLimit = 1000
	MaxLimit     = 10_000
)

// DefaultSince is how far back a query without since looks.
const DefaultSince = time.Hour

// Query selects records. Its zero values select all.
type Query struct {
	// Since and Until bound the windows: those that begin in [Since, Until). The zero
	// Until means no bound.
	Since, Until time.Time
	// Namespaces, of either end: one of them.
	Namespaces []string
	// Workload, of either end; From of the source and To of the destination:
	// namespace/Kind/name.
	Workload, From, To string
	// Action that happened; NoAction: any.
	Action model.Action
	// Audited: records for which audited policies would have decided otherwise.
	Audited bool
	// Policy that decided, in either direction, or of audited policies would have.
	Policy model.Ref
	Tier   string
	// Protocol and Port; 0: any.
	Protocol model.Protocol
	Port     uint16
	// Address is among the samples of either end; the zero Addr: any.
	Address netip.Addr
	Domain  string
	// Node that reported.
	Node string
	// Limit of records, 1–MaxLimit; 0 means DefaultLimit.
	Limit int
	// Cursor is RecordList.Next of the page before.
	Cursor string
	// Step is 0, Window or LongWindow.
	Step time.Duration
}

// ParseQuery reads the parameters of a request. Parameters that it does not know are
// errors: a filter with a slip in its name must not select everything.
func ParseQuery(values url.Values, now time.Time) (Query, error) {
	var q Query
	for name, all := range values {
		if len(all) != 1 && name != "namespace" {
			return Query{}, fmt.Errorf("%s: given %d times", name, len(all))
		}
		if name == "namespace" {
			q.Namespaces = slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "" })
			slices.Sort(q.Namespaces)
			continue
		}
		if all[0] == "" {
			continue
		}
		if err := q.set(name, all[0], now); err != nil {
			return Query{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if q.Since.IsZero() {
		q.Since = now.Add(-DefaultSince)
	}
	if !q.Until.IsZero() && q.Until.Before(q.Since) {
		return Query{}, fmt.Errorf("until: %s is before since, %s", q.Until.UTC().Format(time.RFC3339), q.Since.UTC().Format(time.RFC3339))
	}
	return q, nil
}

// set reads one parameter.
func (q *Query) set(name, v string, now time.Time) (err error) {
	switch name {
	case "since":
		q.Since, err = ParseTime(v, now)
	case "until":
		q.Until, err = ParseTime(v, now)
	case "workload":
		q.Workload, err = workloadName(v)
	case "from":
		q.From, err = workloadName(v)
	case "to":
		q.To, err = workloadName(v)
	case "action":
		if err = q.Action.UnmarshalText([]byte(v)); err == nil && q.Action != model.Allow && q.Action != model.Deny {
			err = fmt.Errorf("unsupported value %q: want Allow or Deny", v)
		}
	case "audited":
		q.Audited, err = strconv.ParseBool(v)
	case "policy":
		q.Policy, err = model.ParseRef(v)
	case "tier":
		q.Tier = v
	case "protocol":
		q.Protocol, err = model.ParseProtocol(v)
	case "port":
		var n uint64
		if n, err = strconv.ParseUint(v, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("unsupported value %q: want 1-65535", v)
		}
		q.Port = uint16(n)
	case "address":
		if q.Address, err = netip.ParseAddr(v); err == nil {
			q.Address = q.Address.Unmap()
		}
	case "domain":
		q.Domain = v
	case "node":
		q.Node = v
	case "limit":
		if q.Limit, err = strconv.Atoi(v); err != nil || q.Limit < 1 || q.Limit > MaxLimit {
			return fmt.Errorf("unsupported value %q: want 1-%d", v, MaxLimit)
		}
	case "cursor":
		q.Cursor = v
		_, err = parseCursor(v)
	case "step":
		if q.Step, err = time.ParseDuration(v); err != nil || q.Step != Window && q.Step != LongWindow {
			return fmt.Errorf("unsupported value %q: want 15s or 5m", v)
		}
	case "watch":
		_, err = strconv.ParseBool(v) // the handler reads it
	default:
		return fmt.Errorf("unknown parameter")
	}
	return err
}

// Values are the parameters of a request for the query, with times as they are.
func (q *Query) Values() url.Values {
	v := url.Values{}
	text := func(name, s string) {
		if s != "" {
			v.Set(name, s)
		}
	}
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	at("since", q.Since)
	at("until", q.Until)
	for _, n := range q.Namespaces {
		v.Add("namespace", n)
	}
	text("workload", q.Workload)
	text("from", q.From)
	text("to", q.To)
	text("action", q.Action.String())
	if q.Audited {
		v.Set("audited", "true")
	}
	text("policy", q.Policy.String())
	text("tier", q.Tier)
	if q.Protocol != model.AnyProtocol {
		v.Set("protocol", q.Protocol.String())
	}
	if q.Port != 0 {
		v.Set("port", strconv.Itoa(int(q.Port)))
	}
	if q.Address.IsValid() {
		v.Set("address", q.Address.String())
	}
	text("domain", q.Domain)
	text("node", q.Node)
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	text("cursor", q.Cursor)
	switch q.Step { // as the API spells them
	case Window:
		v.Set("step", "15s")
	case LongWindow:
		v.Set("step", "5m")
	}
	return v
}

// ParseTime reads a time of RFC 3339, or how long before now, as 90s, 1h or 30d.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if d, err := ParseAgo(s); err == nil {
		return now.Add(-d).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("unsupported value %q: want a time such as 2026-01-02T15:04:05Z, or how long ago, such as 90s, 1h or 30d", s)
	}
	return t.UTC(), nil
}

// ParseAgo reads a duration of 0 or more; d, which must stand alone, is 24 hours.
func ParseAgo(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("unsupported duration %q: want one such as 90s, 1h or 30d", s)
	}
	return d, nil
}

func workloadName(s string) (string, error) {
	if parts := strings.Split(s, "/"); len(parts) != 3 || slices.Contains(parts, "") {
		return "", fmt.Errorf("unsupported value %q: want namespace/Kind/name", s)
	}
	return s, nil
}

// Name is namespace/Kind/name of a workload, Node/name of a host, and empty for ends
// of other kinds.
func (e *End) Name() string {
	if e.Namespace == "" || e.Workload == "" {
		return e.Workload
	}
	return e.Namespace + "/" + e.Workload
}

// Match reports whether a record is among those that the query selects, apart from
// its Cursor and Limit.
func (q *Query) Match(r *Record) bool {
	return q.matchTime(r) && q.matchEnds(r) && q.matchDecision(r) &&
		(q.Protocol == model.AnyProtocol || q.Protocol == r.Protocol) && (q.Port == 0 || q.Port == r.Port) &&
		(q.Node == "" || slices.Contains(r.Reporters, q.Node))
}

func (q *Query) matchTime(r *Record) bool {
	return !r.Start.Before(q.Since) && (q.Until.IsZero() || r.Start.Before(q.Until))
}

func (q *Query) matchEnds(r *Record) bool {
	either := func(f func(*End) bool) bool { return f(&r.Source) || f(&r.Destination) }
	return (len(q.Namespaces) == 0 || either(func(e *End) bool { return e.Namespace != "" && slices.Contains(q.Namespaces, e.Namespace) })) &&
		(q.Workload == "" || either(func(e *End) bool { return e.Name() == q.Workload })) &&
		(q.From == "" || r.Source.Name() == q.From) && (q.To == "" || r.Destination.Name() == q.To) &&
		(!q.Address.IsValid() || either(func(e *End) bool { return slices.Contains(e.Addresses, q.Address) })) &&
		(q.Domain == "" || either(func(e *End) bool { return e.Domain == q.Domain }))
}

func (q *Query) matchDecision(r *Record) bool {
	if q.Action != model.NoAction && q.Action != r.Decided.Action || q.Audited && !r.Decided.AuditDiffers() {
		return false
	}
	if q.Policy == (model.Ref{}) && q.Tier == "" {
		return true
	}
	for d := range r.decisions() {
		for v := range d.verdicts() {
			if (q.Policy == (model.Ref{}) || q.Policy == v.Policy) && (q.Tier == "" || q.Tier == v.Tier) {
				return true
			}
		}
	}
	return false
}

// Page returns the records of a list that Compare sorts that follow the query's cursor,
// at most its Limit, and the cursor of the next page; empty: there is none.
func (q *Query) Page(sorted []Record) (page []Record, next string, err error) {
	limit := q.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if q.Cursor != "" {
		after, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, "", err
		}
		i, found := slices.BinarySearchFunc(sorted, after, func(r Record, at *Record) int { return Compare(&r, at) })
		if found { // it was on the page before
			i++
		}
		sorted = sorted[i:]
	}
	if len(sorted) > limit {
		return sorted[:limit], Cursor(&sorted[limit-1]), nil
	}
	return sorted, "", nil
}

// Cursor names the place of a record in a sorted list: it is the record without its counts.
func Cursor(r *Record) string {
	at := *r
	at.Source.Addresses, at.Destination.Addresses, at.Reporters = nil, nil, nil
	at.Connections, at.Sent, at.Received, at.Denied = Connections{}, nil, nil, 0
	b, err := json.Marshal(&at)
	if err != nil {
		return "" // no record is without JSON
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (*Record, error) {
	var at Record
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err != nil || at.Start.IsZero() {
		return nil, fmt.Errorf("%.20q is no cursor of a list of records", s)
	}
	return &at, nil
}
