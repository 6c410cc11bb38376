package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

// Server answers on ports, and does what it is told on its control socket.
type Server struct {
	// Name that it answers with; without spaces.
	Name string
	// Ports on which it answers, each on TCP and UDP, all addresses of both families.
	Ports []int
	// Control is the path of the unix socket. A file that is there is replaced.
	Control string

	mu      sync.Mutex
	seen    map[string]Seen
	streams map[string]*stream
}

// Seen is what a receiver remembers of the datagrams of one token.
type Seen struct {
	Count int `json:"count"`
	// From is the sender of the first one.
	From string `json:"from,omitempty"`
}

// Run serves until the context ends or something cannot be opened.
func (s *Server) Run(ctx context.Context) error {
	s.seen, s.streams = map[string]Seen{}, map[string]*stream{}
	for _, port := range s.Ports {
		if err := s.listen(ctx, port); err != nil {
			return err
		}
	}
	// A socket of a container that ran here before.
	if err := os.Remove(s.Control); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", s.Control)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.handler(ctx)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listen opens a port on TCP and UDP.
func (s *Server) listen(ctx context.Context, port int) error {
	address := fmt.Sprintf(":%d", port)
	l, err := net.Listen(TCP, address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go s.answer(c)
			}
		}
	}()
	return s.listenDatagrams(ctx, address)
}

// answer greets, and echoes what comes.
func (s *Server) answer(c net.Conn) {
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprintf(c, "%s %s\n", s.Name, c.RemoteAddr()); err != nil {
		return
	}
	_, _ = io.Copy(c, c)
}

// handler takes orders.
func (s *Server) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /probes", func(w http.ResponseWriter, r *http.Request) {
		var requests []Request
		if !read(w, r, &requests) {
			return
		}
		results := make([]Result, len(requests))
		var all sync.WaitGroup
		for i, q := range requests {
			all.Go(func() { results[i] = Probe(r.Context(), q) })
		}
		all.Wait()
		write(w, results)
	})
	mux.HandleFunc("POST /seen", func(w http.ResponseWriter, r *http.Request) {
		var tokens []string
		if !read(w, r, &tokens) {
			return
		}
		seen := make([]Seen, len(tokens))
		s.mu.Lock()
		for i, t := range tokens {
			seen[i] = s.seen[t]
		}
		s.mu.Unlock()
		write(w, seen)
	})
	mux.HandleFunc("POST /races", func(w http.ResponseWriter, r *http.Request) {
		var q RaceRequest
		if !read(w, r, &q) {
			return
		}
		result, err := race(q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		write(w, result)
	})
	mux.HandleFunc("POST /streams", func(w http.ResponseWriter, r *http.Request) {
		var q StreamRequest
		if !read(w, r, &q) {
			return
		}
		t, err := startStream(ctx, q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.streams[t.token] = t
		s.mu.Unlock()
		write(w, t.token)
	})
	mux.HandleFunc("GET /streams/{id}", func(w http.ResponseWriter, r *http.Request) {
		if t := s.stream(w, r); t != nil {
			write(w, t.now())
		}
	})
	mux.HandleFunc("DELETE /streams/{id}", func(w http.ResponseWriter, r *http.Request) {
		if t := s.stream(w, r); t != nil {
			write(w, t.end())
		}
	})
	return mux
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.streams[r.PathValue("id")]
	if t == nil {
		http.Error(w, "no such stream", http.StatusNotFound)
		return nil
	}
	return t
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func write(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
