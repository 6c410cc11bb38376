package page

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

const (
	// maxSessions is how many callers' objects are in memory.
	maxSessions = 8
	// freshFor is how long objects count that were read: rights that are taken away do so
	// that long.
	freshFor = time.Minute
	// idleFor is how long the objects of a caller who asks nothing are kept.
	idleFor = 10 * time.Minute
	// maxLoads is how many callers' objects are read at a time.
	maxLoads = 2
)

// ClusterOptions of a Cluster. Config and Build are needed.
type ClusterOptions struct {
	// Config of the API server. Its credentials are not used.
	Config *rest.Config
	// Build is as of Options.
	Build func(r *manifests.Result, audited bool) (*index.Index, []model.Problem)
	// Records returns what the bearer of a token may see of the flows; nil: there are none.
	Records func(token string) Records
	// Flows serves /flows/v1/ and finds out itself what a caller may see; nil: there are no
	// records.
	Flows http.Handler
	// Assets and Version are as of Options.
	Assets  fs.FS
	Version string
	// Clock; nil: the real one.
	Clock clock.PassiveClock
	// Load reads the objects with a caller's credentials; nil: manifests.FromCluster.
	Load func(context.Context, *rest.Config) (*manifests.Result, error)
}

// Cluster serves the page to callers of a cluster. What it shows a caller is read from the
// API server with the caller's own bearer token, so that it is what the caller may list. It
// has to be served by TLS.
type Cluster struct {
	o     ClusterOptions
	loads chan struct{}

	mu       sync.Mutex
	sessions map[[sha256.Size]byte]*session
}

// session is the objects of one caller.
type session struct {
	turn   chan struct{} // held while server is read anew
	server *Server
	used   time.Time
}

// NewCluster returns a Cluster.
func NewCluster(o ClusterOptions) (*Cluster, error) {
	if o.Config == nil || o.Build == nil {
		return nil, errors.New("page: Config and Build are needed")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Load == nil {
		o.Load = func(ctx context.Context, c *rest.Config) (*manifests.Result, error) {
			return manifests.FromCluster(ctx, c)
		}
	}
	return &Cluster{o: o, loads: make(chan struct{}, maxLoads), sessions: map[[sha256.Size]byte]*session{}}, nil
}

// Handler serves the page, its queries and /flows/v1/.
func (c *Cluster) Handler() http.Handler {
	all := http.NewServeMux()
	all.HandleFunc("/ui/v1/", c.query)
	if c.o.Flows != nil {
		all.Handle("/flows/v1/", c.o.Flows)
	}
	all.Handle("/", assets(c.o.Assets))
	return harden(sameOrigin(all))
}

func (c *Cluster) query(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, "a bearer token is needed, as of kubectl create token")
		return
	}
	s, err := c.serverOf(r.Context(), token)
	switch {
	case apierrors.IsUnauthorized(err):
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, "the API server does not accept the token")
	case apierrors.IsForbidden(err):
		fail(w, http.StatusForbidden, err.Error())
	case err != nil:
		fail(w, http.StatusServiceUnavailable, "the cluster cannot be read: "+err.Error())
	default:
		s.queries().ServeHTTP(w, r)
	}
}

// serverOf is the Server of a caller, read anew if it is not fresh.
func (c *Cluster) serverOf(ctx context.Context, token string) (*Server, error) {
	key := sha256.Sum256([]byte(token))
	x := c.session(key)
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if x.server != nil && c.o.Clock.Since(x.server.read()) < freshFor {
		return x.server, nil
	}
	select {
	case c.loads <- struct{}{}:
		defer func() { <-c.loads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := New(ctx, c.options(token))
	if err != nil {
		c.forget(key) // of a token that is not valid nothing is kept
		return nil, err
	}
	x.server = s
	return s, nil
}

// session finds or makes the session of a token, and ends those that are idle or too many.
func (c *Cluster) session(key [sha256.Size]byte) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.o.Clock.Now()
	x := c.sessions[key]
	if x == nil {
		x = &session{turn: make(chan struct{}, 1)}
		c.sessions[key] = x
	}
	x.used = now
	for len(c.sessions) > 0 {
		var oldest [sha256.Size]byte
		var least *session
		for k, s := range c.sessions {
			if s != x && (least == nil || s.used.Before(least.used)) {
				oldest, least = k, s
			}
		}
		if least == nil || len(c.sessions) <= maxSessions && now.Sub(least.used) < idleFor {
			break
		}
		delete(c.sessions, oldest)
	}
	return x
}

func (c *Cluster) forget(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, key)
}

func (c *Cluster) options(token string) Options {
	config := rest.AnonymousClientConfig(c.o.Config)
	config.BearerToken = token
	o := Options{
		Load: func(ctx context.Context) ([]*manifests.Result, error) {
			r, err := c.o.Load(ctx, config)
			if err != nil {
				return nil, fmt.Errorf("with the caller's token: %w", err)
			}
			return []*manifests.Result{r}, nil
		},
		Build: c.o.Build, Source: "this cluster", Live: true, Flows: c.o.Flows, Token: token, Version: c.o.Version, Clock: c.o.Clock,
	}
	if c.o.Records != nil {
		o.Records = c.o.Records(token)
	}
	return o
}
