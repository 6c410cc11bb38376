package flows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
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
	// allowFor and denyFor are how long an answer of the API server counts.
	allowFor, denyFor = time.Minute, 10 * time.Second
	// maxTokens and maxRights are how many answers are kept.
	maxTokens, maxRights = 1024, 64 << 10
	// maxReviews is how many reviews are under way at a time.
	maxReviews = 16
	// maxAsked is how many namespaces one request is judged for: as many as a cluster of
	// the largest supported size has.
	maxAsked = 10_000
)

// Reviews is the access that the API server grants: a request bears the token of a user
// (TokenReview), who may see the namespaces in which RBAC allows the verb on resource
// flows of flows.tierwall.io (SubjectAccessReview). Answers are kept for a minute.
type Reviews struct {
	tokens authentication.TokenReviewInterface
	access authorization.SubjectAccessReviewInterface
	// users are kept by the hash of the token, rights by user, verb and namespace.
	users, rights *cache.LRUExpireCache
	slots         chan struct{}
}

// NewReviews returns an access with a client of its own, which nothing else waits for.
func NewReviews(config *rest.Config, c clock.PassiveClock) (*Reviews, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 200, 400
	n, err := authentication.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of TokenReviews: %w", err)
	}
	z, err := authorization.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of SubjectAccessReviews: %w", err)
	}
	return newReviews(n.TokenReviews(), z.SubjectAccessReviews(), c), nil
}

func newReviews(tokens authentication.TokenReviewInterface, access authorization.SubjectAccessReviewInterface, c clock.PassiveClock) *Reviews {
	return &Reviews{
		tokens: tokens, access: access, slots: make(chan struct{}, maxReviews),
		users: cache.NewLRUExpireCacheWithClock(maxTokens, c), rights: cache.NewLRUExpireCacheWithClock(maxRights, c),
	}
}

// View implements Access.
func (v *Reviews) View(ctx context.Context, r *http.Request, verb string) (View, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, &StatusError{http.StatusUnauthorized, "a bearer token is needed"}
	}
	key := sha256.Sum256([]byte(token))
	u, err := v.user(ctx, key, token)
	if err != nil {
		return nil, err
	}
	if u == nil {
		return nil, &StatusError{http.StatusUnauthorized, "the token is not valid"}
	}
	return &view{reviews: v, ctx: ctx, user: u, key: hex.EncodeToString(key[:]), verb: verb, asked: map[string]bool{}}, nil
}

// user is who a token belongs to; nil: nobody.
func (v *Reviews) user(ctx context.Context, key [sha256.Size]byte, token string) (*authenticationv1.UserInfo, error) {
	if kept, ok := v.users.Get(key); ok {
		return kept.(*authenticationv1.UserInfo), nil
	}
	release, err := v.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	t, err := v.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("TokenReview: %w", err)
	}
	if !t.Status.Authenticated {
		v.users.Add(key, (*authenticationv1.UserInfo)(nil), denyFor)
		return nil, nil
	}
	v.users.Add(key, &t.Status.User, allowFor)
	return &t.Status.User, nil
}

func (v *Reviews) slot(ctx context.Context) (release func(), err error) {
	select {
	case v.slots <- struct{}{}:
		return func() { <-v.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("too many reviews are under way: %w", ctx.Err())
	}
}

// may asks the API server whether a user may see a namespace's flows; "" is all of them.
func (v *Reviews) may(ctx context.Context, user *authenticationv1.UserInfo, key, verb, namespace string) (bool, error) {
	key += " " + verb + " " + namespace
	if kept, ok := v.rights.Get(key); ok {
		return kept.(bool), nil
	}
	release, err := v.slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for k, e := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(e)
	}
	s, err := v.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: flows.Group, Version: "v1", Resource: flows.Resource},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("SubjectAccessReview: %w", err)
	}
	keep := denyFor
	if s.Status.Allowed {
		keep = allowFor
	}
	v.rights.Add(key, s.Status.Allowed, keep)
	return s.Status.Allowed, nil
}

// view is what one caller may see, during one request.
type view struct {
	reviews *Reviews
	ctx     context.Context //nolint:containedctx // a view does not outlive its request
	user    *authenticationv1.UserInfo
	key     string
	verb    string

	mu    sync.Mutex
	asked map[string]bool
	err   error
}

// May implements View. A right in the whole cluster is one in every namespace.
func (v *view) May(namespace string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.may("") || namespace != "" && v.may(namespace)
}

func (v *view) may(namespace string) bool {
	if answer, ok := v.asked[namespace]; ok || v.err != nil {
		return answer
	}
	if len(v.asked) >= maxAsked {
		v.err = errors.New("too many namespaces")
		return false
	}
	answer, err := v.reviews.may(v.ctx, v.user, v.key, v.verb, namespace)
	if err != nil {
		v.err = err
		return false
	}
	v.asked[namespace] = answer
	return answer
}

// Err implements View.
func (v *view) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}
