package probe

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stream is a stream under way.
type stream struct {
	request StreamRequest
	token   string
	stop    context.CancelFunc
	done    chan struct{} // nothing is sent any more, and stragglers have been waited for

	mu     sync.Mutex
	counts Counts
	sent   map[int]time.Time // not answered yet
	last   time.Time         // of the last answer
}

// startStream connects, where there is something to connect, and begins to send.
func startStream(ctx context.Context, r StreamRequest) (*stream, error) {
	r.Interval = cmp.Or(r.Interval, 20*time.Millisecond)
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{request: r, token: newToken(), stop: cancel, done: make(chan struct{}), sent: map[int]time.Time{}, last: time.Now()}
	s.counts.Token = s.token
	var message func(ctx context.Context, number int)
	var closer func()
	switch r.Kind {
	case Connections, Flows:
		message, closer = s.single, func() {}
	case Connection, Datagrams:
		c, err := s.connect(ctx)
		if err != nil {
			cancel()
			return nil, err
		}
		message, closer = func(_ context.Context, number int) { s.send(c, number) }, func() { _ = c.Close() }
	default:
		cancel()
		return nil, fmt.Errorf("kind %q of a stream: there is none", r.Kind)
	}
	go s.run(ctx, message, closer)
	return s, nil
}

// run sends a message each interval. Each has a goroutine of its own, so that
// one that waits keeps no other back.
func (s *stream) run(ctx context.Context, message func(context.Context, int), closer func()) {
	defer close(s.done)
	defer closer()
	tick := time.NewTicker(s.request.Interval)
	defer tick.Stop()
	var under sync.WaitGroup
	for number := 1; ctx.Err() == nil; number++ {
		if s.request.Kind == Connection || s.request.Kind == Datagrams {
			message(ctx, number)
		} else {
			under.Go(func() { message(ctx, number) })
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	under.Wait()
	s.settle()
}

// settle waits for the answers that are under way, a second at most.
func (s *stream) settle() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		open, broken := len(s.sent), s.counts.Broken != ""
		s.mu.Unlock()
		if open == 0 || broken {
			return
		}
	}
}

// connect opens the one socket of a stream and reads its answers.
func (s *stream) connect(ctx context.Context) (net.Conn, error) {
	network := UDP
	if s.request.Kind == Connection {
		network = TCP
	}
	dialing, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(dialing, network, s.request.To)
	if err != nil {
		return nil, err
	}
	if network == UDP {
		go s.readDatagrams(c)
		return c, nil
	}
	r := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(3 * patience))
	if _, err := r.ReadString('\n'); err != nil {
		_ = c.Close()
		return nil, err
	}
	_ = c.SetReadDeadline(time.Time{})
	go s.readLines(r)
	return c, nil
}

func (s *stream) readLines(r *bufio.Reader) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if !errors.Is(err, net.ErrClosed) { // not by us
				s.mu.Lock()
				s.counts.Broken = err.Error()
				s.mu.Unlock()
			}
			return
		}
		s.answered(line)
	}
}

func (s *stream) readDatagrams(c net.Conn) {
	b := make([]byte, 2048)
	for {
		n, err := c.Read(b)
		switch {
		case err == nil:
			s.answered(string(b[:n]))
		case outcome(err) == Refused:
			s.note(err)
		default:
			return // closed
		}
	}
}

// answered takes note of an answer: its last word is the message's number.
func (s *stream) answered(line string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	number, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		return
	}
	s.mark(number)
}

// mark counts the first answer of a message.
func (s *stream) mark(number int) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, ok := s.sent[number]
	if !ok {
		return
	}
	delete(s.sent, number)
	took := now.Sub(sent)
	s.counts.Answered++
	s.counts.Slowest = max(s.counts.Slowest, took)
	s.counts.Gap = max(s.counts.Gap, now.Sub(s.last))
	s.last = now
}

// begin counts a message as sent.
func (s *stream) begin(number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Sent++
	s.sent[number] = time.Now()
}

func (s *stream) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Last = err.Error()
	switch outcome(err) {
	case Refused:
		s.counts.Refused++
	case Failed:
		s.counts.Failed++
	}
}

// send writes a message to the one socket.
func (s *stream) send(c net.Conn, number int) {
	s.begin(number)
	text := fmt.Sprintf("%s %d\n", s.token, number)
	if s.request.Kind == Datagrams {
		text = text[:len(text)-1]
	}
	// A full buffer of a connection that is cut must not hold up the count.
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(text)); err != nil {
		s.note(err)
	}
}

// single makes a new connection, or socket, for one message. A connection has
// three seconds, in which TCP sends twice again what was lost.
func (s *stream) single(ctx context.Context, number int) {
	// A try that has begun is brought to its end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*patience)
	defer cancel()
	s.begin(number)
	var err error
	again := 0
	if s.request.Kind == Connections {
		_, _, again, err = probeTCP(ctx, s.request.To)
	} else {
		_, _, err = probeUDP(ctx, s.request.To, s.token)
	}
	if err != nil {
		s.note(err)
		return
	}
	s.mark(number)
	if again > 0 {
		s.mu.Lock()
		s.counts.Again++
		s.mu.Unlock()
	}
}

// now is the counts so far.
func (s *stream) now() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Gap = max(c.Gap, time.Since(s.last))
	return c
}

// end stops the stream and returns its counts.
func (s *stream) end() Counts {
	s.mu.Lock()
	last := s.last
	s.counts.Gap = max(s.counts.Gap, time.Since(last))
	s.mu.Unlock()
	s.stop()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}
