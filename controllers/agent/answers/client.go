package answers

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
)

// truncated is the flag of an answer that has to be asked for over TCP, in the third byte.
const truncated = 2

// headerLen is the length of a DNS message's header.
const headerLen = 12

// Ask sends a question over UDP and, if the answer is truncated, over TCP. It is for Options.Ask.
func Ask(ctx context.Context, server netip.Addr, question []byte) ([]byte, error) {
	answer, err := exchange(ctx, "udp", server, question)
	if err == nil && answer[2]&truncated != 0 {
		return exchange(ctx, "tcp", server, question)
	}
	return answer, err
}

func exchange(ctx context.Context, network string, server netip.Addr, question []byte) ([]byte, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, netip.AddrPortFrom(server, port).String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return nil, err
		}
	}
	tcp := network == "tcp"
	if tcp {
		question = append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	}
	if _, err := c.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, 1<<16)
	var n int
	if tcp {
		if _, err := io.ReadFull(c, answer[:lengthLen]); err != nil {
			return nil, err
		}
		n, err = io.ReadFull(c, answer[:binary.BigEndian.Uint16(answer)])
	} else {
		n, err = c.Read(answer)
	}
	if err == nil && n < headerLen {
		err = errors.New("the answer is no DNS message")
	}
	return answer[:n], err
}

// lengthLen is the length of what stands before each message over TCP.
const lengthLen = 2
