package scrape

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
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
	verb, path := strings.ToLower(r.Method), r.URL.Path
	key := sha256.Sum256([]byte(verb + " " + path + "\n" + token))
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
	a, err := v.ask(ctx, token, verb, path)
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

// ask asks the API server whose token it is, and whether that user may.
func (v *reviewer) ask(ctx context.Context, token, verb, path string) (answer, error) {
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
	s, err := v.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: verb},
	}}, metav1.CreateOptions{})
	if err != nil {
		return answer{}, fmt.Errorf("SubjectAccessReview: %w", err)
	}
	if !s.Status.Allowed {
		return answer{http.StatusForbidden, fmt.Sprintf("user %q may not %s %s: it takes a ClusterRole with nonResourceURLs: [%s] and verbs: [%s]", user.Username, verb, path, path, verb)}, nil
	}
	return answer{code: http.StatusOK}, nil
}
