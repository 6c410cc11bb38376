package probe

import (
	"fmt"
	"net/netip"
	"time"
)

// Networks that a probe uses.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Outcome is what became of a probe.
type Outcome string

// Outcomes.
const (
	// Answered: the receiver has said who it is.
	Answered Outcome = "answered"
	// Refused: a TCP reset or an ICMP error came back.
	Refused Outcome = "refused"
	// Dropped: nothing came back in time.
	Dropped Outcome = "dropped"
	// Failed: the probe could not be sent, or what came back made no sense.
	Failed Outcome = "failed"
)

// Request asks for one probe: a new connection, or a datagram from a new socket.
type Request struct {
	// Network is TCP or UDP.
	Network string `json:"network"`
	// To is an address and a port.
	To string `json:"to"`
	// Timeout until the answer must be there; 0 means one second, before which TCP
	// sends no second SYN: one packet decides.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Token is what the receiver remembers the probe by; empty: one is made.
	Token string `json:"token,omitempty"`
}

// Result is what became of a Request.
type Result struct {
	Outcome Outcome `json:"outcome"`
	// Name of the one who answered.
	Name string `json:"name,omitempty"`
	// From is the sender's address and port as the one who answered saw them.
	From string `json:"from,omitempty"`
	// Token by which the receiver of a datagram remembers it.
	Token string `json:"token"`
	// Detail is the system's error, if there was one.
	Detail string `json:"detail,omitempty"`
	// Took from sending to the answer or the end of the wait.
	Took time.Duration `json:"took"`
}

func (r Result) String() string {
	s := string(r.Outcome)
	if r.Name != "" {
		s += " by " + r.Name
	}
	if r.Detail != "" {
		s += fmt.Sprintf(" (%s)", r.Detail)
	}
	return s
}

// Kind of a stream.
type Kind string

// Kinds of streams.
const (
	// Connection is one TCP connection, on which each message is echoed.
	Connection Kind = "connection"
	// Datagrams are messages from one UDP socket, each echoed.
	Datagrams Kind = "datagrams"
	// Connections are new TCP connections, one a message.
	Connections Kind = "connections"
	// Flows are datagrams from new UDP sockets, one a message.
	Flows Kind = "flows"
)

// StreamRequest asks for a stream of messages, numbered from 1.
type StreamRequest struct {
	Kind Kind   `json:"kind"`
	To   string `json:"to"`
	// Interval between messages; 0 means 20 ms.
	Interval time.Duration `json:"interval,omitempty"`
}

// Counts are those of a stream.
type Counts struct {
	// Sent are messages that are on their way, or tries of new connections.
	Sent int `json:"sent"`
	// Answered are those of them that were, each counted once.
	Answered int `json:"answered"`
	// Again are new TCP connections that were answered only after a packet had
	// been sent again: one was lost on the way.
	Again int `json:"again"`
	// Refused by a reset or an ICMP error.
	Refused int `json:"refused"`
	// Failed could not be sent.
	Failed int `json:"failed"`
	// Gap is the longest time between two answers, or since the last one.
	Gap time.Duration `json:"gap"`
	// Slowest answer.
	Slowest time.Duration `json:"slowest"`
	// Broken is why the connection ended, if it did.
	Broken string `json:"broken,omitempty"`
	// Last error of a message.
	Last string `json:"last,omitempty"`
	// Token by which the receiver remembers the stream's datagrams.
	Token string `json:"token"`
}

// Lost are messages that were sent and not answered; those of the last moment
// may still be.
func (c Counts) Lost() int { return c.Sent - c.Answered }

func (c Counts) String() string {
	return fmt.Sprintf("%d sent, %d answered (%d after packets were sent again), %d refused, %d failed, longest gap %s, slowest %s %s%s",
		c.Sent, c.Answered, c.Again, c.Refused, c.Failed, c.Gap.Round(time.Millisecond), c.Slowest.Round(time.Millisecond), c.Broken, c.Last)
}

// RaceRequest asks for names to be resolved, one after the other, each followed at once by
// a connection to the address that the answer has brought.
type RaceRequest struct {
	// Server that is asked, with its port.
	Server netip.AddrPort `json:"server"`
	// IPv6: ask for AAAA, not for A.
	IPv6 bool `json:"ipv6,omitempty"`
	// TCP: ask over TCP.
	TCP   bool     `json:"tcp,omitempty"`
	Names []string `json:"names"`
	// Port to connect to; 0: no connections.
	Port uint16 `json:"port,omitempty"`
	// Patience with an answer, and with a connection; 0 means three seconds, in which TCP
	// sends twice again what was lost.
	Patience time.Duration `json:"patience,omitempty"`
}

// RaceResult is what became of a RaceRequest.
type RaceResult struct {
	// Asked are the names, Answered those for which an answer came.
	Asked    int `json:"asked"`
	Answered int `json:"answered"`
	// Lost are connections whose first packet had to be sent again, Failed those that did
	// not come about.
	Lost   int `json:"lost"`
	Failed int `json:"failed"`
	// Median and Slowest of the answers.
	Median  time.Duration `json:"median"`
	Slowest time.Duration `json:"slowest"`
	// Silence is the longest time between two answers with a question in between that had none.
	Silence time.Duration `json:"silence"`
}

func (r RaceResult) String() string {
	return fmt.Sprintf("%d names asked for, %d answered (median %s, slowest %s, longest silence %s), first packets lost %d, connections failed %d",
		r.Asked, r.Answered, r.Median, r.Slowest, r.Silence, r.Lost, r.Failed)
}
