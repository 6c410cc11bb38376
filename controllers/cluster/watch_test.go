package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// TestReaderList goes the way of a reflector that has no streamed list: page by
// page, and then Replace.
func TestReaderList(t *testing.T) {
	pages := map[string]*corev1.PodList{
		"":  {ListMeta: metav1.ListMeta{ResourceVersion: "5", Continue: "2"}, Items: []corev1.Pod{*podOf("a", "10.0.0.1"), *podOf("waits", "")}},
		"2": {ListMeta: metav1.ListMeta{ResourceVersion: "5"}, Items: []corev1.Pod{*podOf("b", "10.0.0.2")}},
	}
	var l log
	how := &observed{mustRead: t}
	s := newStore(podKind(t), &l, how)
	must(t, s.Add(podOf("gone", "10.0.0.9")))
	l.take()
	r := &reader{gate: newGate(), store: s, observer: how, from: &cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) { return pages[o.Continue], nil },
	}}
	var keys []any
	for next, first := "", true; first || next != ""; first = false {
		list, err := r.list(context.Background(), metav1.ListOptions{Continue: next})
		must(t, err)
		m, err := meta.ListAccessor(list)
		must(t, err)
		if m.GetResourceVersion() != "5" {
			t.Errorf("resource version %q", m.GetResourceVersion())
		}
		next = m.GetContinue()
		must(t, meta.EachListItem(list, func(o runtime.Object) error {
			keys = append(keys, o)
			return nil
		}))
	}
	want(t, &l, "+ns/a 10.0.0.1", "+ns/b 10.0.0.2")
	must(t, s.Replace(keys, "5"))
	want(t, &l, "-ns/gone")
	if !slices.Equal(how.answers, []error{nil, nil}) {
		t.Errorf("answers %v, want two without an error", how.answers)
	}
}

// TestReaderListsWhatIs: only of kinds that are many a list may be old.
func TestReaderListsWhatIs(t *testing.T) {
	for _, tt := range []struct {
		cached    bool
		ask, want string
	}{{true, "0", "0"}, {false, "0", ""}, {false, "17", "17"}, {false, "", ""}} {
		var got string
		r := &reader{gate: newGate(), cached: tt.cached, observer: &observed{}, from: &cache.ListWatch{
			ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
				got = o.ResourceVersion
				return &corev1.PodList{}, nil
			},
		}}
		_, err := r.list(context.Background(), metav1.ListOptions{ResourceVersion: tt.ask})
		must(t, err)
		if got != tt.want {
			t.Errorf("cached %v: asked with %q for %q, want %q", tt.cached, got, tt.ask, tt.want)
		}
	}
}

// TestReaderErrors: which errors of requests are told, and which are the
// reflector's to deal with.
func TestReaderErrors(t *testing.T) {
	gr := schema.GroupResource{Resource: "pods"}
	forbidden := apierrors.NewForbidden(gr, "", errors.New("no"))
	over, cancel := context.WithCancel(context.Background())
	cancel()
	stream := new(bool)
	tests := []struct {
		name    string
		ctx     context.Context
		options metav1.ListOptions
		err     error
		list    bool // told of a list
		watch   bool // told of a watch
	}{
		{"forbidden", context.Background(), metav1.ListOptions{}, forbidden, true, true},
		{"the version is too old", context.Background(), metav1.ListOptions{}, apierrors.NewResourceExpired("old"), false, false},
		{"no streamed lists", context.Background(), metav1.ListOptions{SendInitialEvents: stream}, apierrors.NewInvalid(schema.GroupKind{}, "", nil), true, false},
		{"the end", over, metav1.ListOptions{}, forbidden, false, false},
	}
	for _, tt := range tests {
		how := &observed{}
		r := &reader{gate: newGate(), observer: how, from: &cache.ListWatch{
			ListWithContextFunc:  func(context.Context, metav1.ListOptions) (runtime.Object, error) { return nil, tt.err },
			WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, tt.err },
		}}
		if _, err := r.list(tt.ctx, tt.options); !errors.Is(err, tt.err) {
			t.Errorf("%s: list returns %v", tt.name, err)
		}
		if told := len(how.answers) > 0; told != tt.list {
			t.Errorf("%s: told of the list: %v, want %v", tt.name, told, tt.list)
		}
		how.answers = nil
		if _, err := r.watch(tt.ctx, tt.options); !errors.Is(err, tt.err) {
			t.Errorf("%s: watch returns %v", tt.name, err)
		}
		if told := len(how.answers) > 0; told != tt.watch {
			t.Errorf("%s: told of the watch: %v, want %v", tt.name, told, tt.watch)
		}
	}
}
