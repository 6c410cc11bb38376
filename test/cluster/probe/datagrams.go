package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// listenDatagrams opens a UDP port, a socket for each family. Answers come from
// the very address that was asked: a host with several would choose another one,
// and the asker would take no notice of it.
func (s *Server) listenDatagrams(ctx context.Context, address string) error {
	c4, err := net.ListenPacket("udp4", address)
	if err != nil {
		return err
	}
	p4 := ipv4.NewPacketConn(c4)
	if err := p4.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return errors.Join(err, c4.Close())
	}
	context.AfterFunc(ctx, func() { _ = c4.Close() })
	go s.answerDatagrams(func(b []byte) (int, net.Addr, func([]byte), error) {
		n, cm, from, err := p4.ReadFrom(b)
		return n, from, func(answer []byte) {
			if cm != nil {
				_, _ = p4.WriteTo(answer, &ipv4.ControlMessage{Src: cm.Dst}, from)
			}
		}, err
	})
	c6, err := net.ListenPacket("udp6", address)
	if err != nil {
		return nil // a kernel without IPv6
	}
	p6 := ipv6.NewPacketConn(c6)
	if err := p6.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return errors.Join(err, c6.Close())
	}
	context.AfterFunc(ctx, func() { _ = c6.Close() })
	go s.answerDatagrams(func(b []byte) (int, net.Addr, func([]byte), error) {
		n, cm, from, err := p6.ReadFrom(b)
		return n, from, func(answer []byte) {
			if cm != nil {
				_, _ = p6.WriteTo(answer, &ipv6.ControlMessage{Src: cm.Dst}, from)
			}
		}, err
	})
	return nil
}

// answerDatagrams remembers each datagram and answers with a greeting and what
// came. receive gives the way to answer too.
func (s *Server) answerDatagrams(receive func([]byte) (int, net.Addr, func([]byte), error)) {
	b := make([]byte, 2048)
	for {
		n, from, answer, err := receive(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		token, _, _ := strings.Cut(string(b[:n]), " ")
		s.mu.Lock()
		seen := s.seen[token]
		if seen.Count++; seen.Count == 1 {
			seen.From = from.String()
		}
		s.seen[token] = seen
		s.mu.Unlock()
		answer(fmt.Appendf(nil, "%s %s %s", s.Name, from, b[:n]))
	}
}
