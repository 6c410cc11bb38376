package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// log is a layer that keeps what it takes as text.
type log []string

func (l *log) upsert(namespace, name string, o any) {
	detail := ""
	if p, ok := o.(*corev1.Pod); ok {
		detail = " " + p.Status.PodIP
	}
	*l = append(*l, "+"+join(namespace, name)+detail)
}

func (l *log) remove(namespace, name string) { *l = append(*l, "-"+join(namespace, name)) }

func (l *log) take() []string {
	out := *l
	*l = nil
	return out
}

// observed is an observer that keeps what it is called with.
type observed struct {
	lists    int
	answers  []error
	unread   []string
	mustRead *testing.T // fails when an object cannot be read; nil: that is kept
}

func (o *observed) listed() { o.lists++ }

func (o *observed) unreadable(ns, name string, err error) {
	if o.mustRead != nil {
		o.mustRead.Error(ns, name, err)
	}
	o.unread = append(o.unread, fmt.Sprint(name, " ", err != nil))
}

func (o *observed) answered(err error) { o.answers = append(o.answers, err) }

func podOf(name, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, ResourceVersion: "7"},
		Status:     corev1.PodStatus{PodIP: ip, Phase: corev1.PodRunning},
	}
}

func podKind(t *testing.T) *kind {
	t.Helper()
	for _, k := range builtinKinds() {
		if k.kind == "Pod" {
			return k
		}
	}
	t.Fatal("no pods")
	return nil
}

func want(t *testing.T, l *log, events ...string) {
	t.Helper()
	got := l.take()
	slices.Sort(got)
	if !slices.Equal(got, events) {
		t.Errorf("told %q, want %q", got, events)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoreTellsNews(t *testing.T) {
	var l log
	how := &observed{mustRead: t}
	s := newStore(podKind(t), &l, how)
	must(t, s.Add(podOf("a", "10.0.0.1")))
	must(t, s.Add(podOf("waits", "")))
	want(t, &l, "+ns/a 10.0.0.1")

	heartbeat := podOf("a", "10.0.0.1")
	heartbeat.ResourceVersion, heartbeat.Status.Message = "8", "still well"
	must(t, s.Update(heartbeat))
	want(t, &l)
	must(t, s.Update(podOf("a", "10.0.0.2")))
	want(t, &l, "+ns/a 10.0.0.2")

	done := podOf("a", "10.0.0.2")
	done.Status.Phase = corev1.PodFailed
	must(t, s.Update(done))
	want(t, &l, "-ns/a")
	must(t, s.Delete(done))
	want(t, &l)

	must(t, s.Replace([]any{podOf("b", "10.0.0.3"), podOf("c", "10.0.0.4")}, "9"))
	want(t, &l, "+ns/b 10.0.0.3", "+ns/c 10.0.0.4")
	must(t, s.Replace([]any{podOf("c", "10.0.0.4")}, "10"))
	want(t, &l, "-ns/b")
	if how.lists != 2 {
		t.Errorf("replaced %d times, want 2", how.lists)
	}
	must(t, s.Delete(cache.DeletedFinalStateUnknown{Key: "ns/c"}))
	want(t, &l, "-ns/c")
	if len(s.known) != 0 {
		t.Errorf("still knows %v", s.known)
	}
}

// TestStoreStreamedList goes the way of a reflector that streams a list: through
// the Transformer, into a store of its own, and then Replace.
func TestStoreStreamedList(t *testing.T) {
	var l log
	s := newStore(podKind(t), &l, &observed{mustRead: t})
	must(t, s.Add(podOf("gone", "10.0.0.9")))
	l.take()
	temporary := cache.NewStore(cache.DeletionHandlingMetaNamespaceKeyFunc, cache.WithTransformer(s.Transformer()))
	must(t, temporary.Add(podOf("a", "10.0.0.1")))
	must(t, temporary.Add(podOf("short", "10.0.0.2")))
	want(t, &l, "+ns/a 10.0.0.1", "+ns/short 10.0.0.2")
	must(t, temporary.Delete(podOf("short", "10.0.0.2")))
	for _, o := range temporary.List() {
		if _, ok := o.(cache.ExplicitKey); !ok {
			t.Errorf("the reflector's store holds %T, want keys only", o)
		}
	}
	must(t, s.Replace(temporary.List(), "1"))
	want(t, &l, "-ns/gone", "-ns/short")
	if !s.has("ns", "a") || s.has("ns", "gone") {
		t.Errorf("knows %v", s.known)
	}
}

func TestStoreUnreadable(t *testing.T) {
	k := customKinds()[slices.IndexFunc(customKinds(), func(k *kind) bool { return k.ours && k.kind == "GlobalNetworkPolicy" })]
	var l log
	how := &observed{}
	s := newStore(k, &l, how)
	policy := func(name string, spec any) runtime.Object {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "tierwall.io/v1alpha1", "kind": k.kind, "metadata": map[string]any{"name": name}, "spec": spec,
		}}
	}
	good, bad := map[string]any{"selector": "all()"}, map[string]any{"ingress": int64(5)}
	must(t, s.Add(policy("was-good", good)))
	must(t, s.Add(policy("never-good", bad)))
	want(t, &l, "+never-good", "+was-good")
	must(t, s.Update(policy("was-good", bad)))
	want(t, &l) // what it said last stands
	must(t, s.Update(policy("was-good", good)))
	want(t, &l, "+was-good")
	must(t, s.Update(policy("was-good", bad)))
	must(t, s.Replace(nil, ""))
	want(t, &l, "-never-good", "-was-good")
	if want := []string{"never-good true", "was-good true", "was-good false", "was-good true"}; !slices.Equal(how.unread[:4], want) || len(how.unread) != 6 {
		t.Errorf("unreadable: %v, want %v and two that are over", how.unread, want)
	}
	if len(s.unread)+len(s.known) != 0 {
		t.Errorf("keeps %v, %v", s.unread, s.known)
	}
}

func TestStoreRefusesStrangers(t *testing.T) {
	s := newStore(podKind(t), &log{}, &observed{})
	if err := s.Add("a text"); err == nil {
		t.Error("a text is taken")
	}
	if err := s.Delete("a text"); err == nil {
		t.Error("a text is deleted")
	}
	var keyErr cache.KeyError
	if err := s.Replace([]any{5}, ""); !errors.As(err, &keyErr) && err == nil {
		t.Error("a number is taken")
	}
}
