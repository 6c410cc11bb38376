package scrape

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/policy/flows"
)

const (
	// allowFor and denyFor are how long an answer of the API server's counts.
	allowFor, denyFor = time.Minute, 30 * time.Second
	// maxAnswers is how many answers are kept.
	maxAnswers = 1024
	// maxReviews is how many tokens are reviewed at a time.
	maxReviews = 4
	// reviewWithin is how long a request waits for its review.
	reviewWithin = 10 * time.Second
)

// reviewer has the API server judge requests.
type reviewer struct {
	tokens authentication.TokenReviewInterface
	access authorization.SubjectAccessReviewInterface
	// answers are kept by the hash of token, verb and path.
	answers *cache.LRUExpireCache
	slots   chan struct{}
}

// answer is the status and text of a refusal; code 200: the request is let through.
type answer struct {
	code int
	text string
}

// newReviewer returns a reviewer that asks with its own client, which nothing
// else waits for.
func newReviewer(config *rest.Config, c clock.PassiveClock) (*reviewer, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 20, 40
	n, err := authentication.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of TokenReviews: %w", err)
	}
	z, err := authorization.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of SubjectAccessReviews: %w", err)
	}
	return &reviewer{
		tokens: n.TokenReviews(), access: z.SubjectAccessReviews(),
		answers: cache.NewLRUExpireCacheWithClock(maxAnswers, c), slots: make(chan struct{}, maxReviews),
	}, nil
}

// guard lets through to next what the API server allows: requests that bear the
// token of a user who may get the path, as RBAC's nonResourceURLs say.
func (v *reviewer) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), reviewWithin)
		a := v.judge(ctx, r)
		cancel()
		if a.code == http.StatusOK {
			next.ServeHTTP(w, r)
			return
		}
		if a.code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		w.Header().Set("Connection", "close") // who is not let in holds no connection
		http.Error(w, a.text, a.code)
	})
}

func (v *reviewer) judge(ctx context.Context, r *http.Request) answer {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return answer{http.StatusUnauthorized, "a bearer token is needed"}
	}
	what := wanted(r)
	key := sha256.Sum256([]byte(what.verb + " " + what.path + "\n" + token))
	if kept, ok := v.answers.Get(key); ok {
		return kept.(answer)
	}
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return answer{http.StatusServiceUnavailable, "too many reviews of tokens are under way"}
	}
	if kept, ok := v.answers.Get(key); ok { // another request's, meanwhile
		return kept.(answer)
	}
	a, err := v.ask(ctx, token, what)
	if err != nil {
		return answer{http.StatusServiceUnavailable, "the API server does not review tokens at the moment"}
	}
	keep := denyFor
	if a.code == http.StatusOK {
		keep = allowFor
	}
	v.answers.Add(key, a, keep)
	return a
}

// access is what a request takes: a verb on a path or, for records of connections, on the
// virtual resource flows in the whole cluster. An agent's records are of all namespaces.
type access struct {
	verb, path string
	flows      bool
}

func wanted(r *http.Request) access {
	if !strings.HasPrefix(r.URL.Path, "/flows/") {
		return access{verb: strings.ToLower(r.Method), path: r.URL.Path}
	}
	verb := "list"
	if watch, err := strconv.ParseBool(r.URL.Query().Get("watch")); watch && err == nil {
		verb = "watch"
	}
	return access{verb: verb, path: flows.Resource + "." + flows.Group, flows: true}
}

func (a *access) spec() authorizationv1.SubjectAccessReviewSpec {
	if a.flows {
		return authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Group: flows.Group, Resource: flows.Resource, Verb: a.verb}}
	}
	return authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: a.path, Verb: a.verb}}
}

// right names what would give access.
func (a *access) right() string {
	if a.flows {
		return fmt.Sprintf("apiGroups: [%s], resources: [%s] and verbs: [%s]", flows.Group, flows.Resource, a.verb)
	}
	return fmt.Sprintf("nonResourceURLs: [%s] and verbs: [%s]", a.path, a.verb)
}

// ask asks the API server whose token it is, and whether that user may.
func (v *reviewer) ask(ctx context.Context, token string, what access) (answer, error) {
	t, err := v.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return answer{}, fmt.Errorf("TokenReview: %w", err)
	}
	if !t.Status.Authenticated {
		return answer{http.StatusUnauthorized, "the token is not valid"}, nil
	}
	user := t.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for k, e := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(e)
	}
	spec := what.spec()
	spec.User, spec.UID, spec.Groups, spec.Extra = user.Username, user.UID, user.Groups, extra
	s, err := v.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return answer{}, fmt.Errorf("SubjectAccessReview: %w", err)
	}
	if !s.Status.Allowed {
		return answer{http.StatusForbidden, fmt.Sprintf("user %q may not %s %s: it takes a ClusterRole with %s", user.Username, what.verb, what.path, what.right())}, nil
	}
	return answer{code: http.StatusOK}, nil
}
