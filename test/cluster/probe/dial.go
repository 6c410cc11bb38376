package probe

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// patience is how long an answer may take unless a Request says otherwise.
const patience = time.Second

// newToken is 16 characters that nobody else has.
func newToken() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Probe sends one probe from where the caller is.
func Probe(ctx context.Context, r Request) Result {
	r.Token = cmp.Or(r.Token, newToken())
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Timeout, patience))
	defer cancel()
	start := time.Now()
	var name, from string
	var err error
	switch r.Network {
	case TCP:
		name, from, _, err = probeTCP(ctx, r.To)
	case UDP:
		name, from, err = probeUDP(ctx, r.To, r.Token)
	default:
		err = fmt.Errorf("network %q: want tcp or udp", r.Network)
	}
	result := Result{Outcome: outcome(err), Name: name, From: from, Token: r.Token, Took: time.Since(start)}
	if err != nil {
		result.Detail = err.Error()
	}
	return result
}

// outcome tells errors apart.
func outcome(err error) Outcome {
	var timeout net.Error
	switch {
	case err == nil:
		return Answered
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES):
		return Refused
	// The host's own firewall, here Tierwall's output chain, drops with EPERM: what
	// is sent never leaves.
	case errors.Is(err, syscall.EPERM), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return Dropped
	}
	return Failed
}

// probeTCP connects and reads the greeting. again is how many packets the kernel
// sent more than once: none is lost where it is 0, however slow the machine was.
func probeTCP(ctx context.Context, to string) (name, from string, again int, err error) {
	c, err := dial(ctx, TCP, to)
	if err != nil {
		return "", "", 0, err
	}
	t := c.(*net.TCPConn)
	// A reset in place of the four packets of a close: ports are free at once.
	defer func() { _ = t.SetLinger(0); _ = t.Close() }()
	line, err := bufio.NewReader(t).ReadString('\n')
	if err != nil {
		return "", "", 0, err
	}
	if again, err = sentAgain(t); err != nil {
		return "", "", 0, err
	}
	name, from, err = greeting(line)
	return name, from, again, err
}

func probeUDP(ctx context.Context, to, token string) (name, from string, err error) {
	c, err := dial(ctx, UDP, to)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte(token + " 1")); err != nil {
		return "", "", err
	}
	b := make([]byte, 2048)
	n, err := c.Read(b)
	if err != nil {
		return "", "", err
	}
	return greeting(string(b[:n]))
}

// dial connects, with the context's deadline for all that follows.
func dial(ctx context.Context, network, to string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, to)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	return c, nil
}

// greeting reads what every answer begins with: the name of the one who
// answers, and whom it answers.
func greeting(line string) (name, from string, err error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return "", "", fmt.Errorf("no greeting of a probe: %q", line)
	}
	return words[0], words[1], nil
}
