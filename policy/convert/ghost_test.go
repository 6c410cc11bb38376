package convert_test

import (
	"net/netip"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

func TestGhost(t *testing.T) {
	a := netip.MustParseAddr("198.18.0.7")
	g := &convert.Ghost{Namespace: "shop", Name: "web", UID: "u1", Node: "n1", Addrs: []netip.Addr{a}}
	o, problems, known := convert.Object(g.DeepCopyObject())
	want := &model.Endpoint{Ref: model.GhostRef("shop", "web", "u1"), Node: "n1", Addrs: []netip.Addr{a}}
	if !known || len(problems) > 0 || !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v, %v, %v", o, problems, known)
	}
	if pod, ok := want.Ref.GhostOf(); !ok || pod.String() != "Pod/shop/web" || want.Ref.String() != "PodGhost/shop/web@u1" {
		t.Errorf("%s is the ghost of %s, %v", want.Ref, pod, ok)
	}
	if _, ok := (model.Ref{Kind: model.KindPod, Name: "web"}).GhostOf(); ok {
		t.Error("a pod is a ghost")
	}
	if o, _, _ := convert.Object(&convert.Ghost{Namespace: "shop", Name: "web"}); o != nil {
		t.Errorf("one without addresses is %v", o)
	}
	if _, known := convert.RefOf((*convert.Ghost)(nil)); known {
		t.Error("nil has a name")
	}
}

// TestReportedGhosts holds that what an agent reports of ghosts is read, and that only
// ghosts are: an agent names no pod as the owner of an address by it.
func TestReportedGhosts(t *testing.T) {
	r := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	r.Report.Links = &v1alpha1.NodeLinks{}
	r.Report.Ghosts = []v1alpha1.ReportedGhost{
		{Address: "198.18.0.9", Pod: "PodGhost/shop/web@u1"}, {Address: "198.18.0.7", Pod: "PodGhost/shop/web@u1"},
		{Address: "198.18.0.7", Pod: "PodGhost/shop/web@u2"}, {Address: "198.18.0.8", Pod: "Pod/shop/web"}, {Address: "x", Pod: "PodGhost/shop/web@u1"}, {Address: "198.18.0.8"},
	}
	o, problems, _ := convert.Object(r)
	ghost := model.GhostRef("shop", "web", "u1")
	want := []model.Ghost{{Addr: netip.MustParseAddr("198.18.0.7"), Ref: ghost}, {Addr: netip.MustParseAddr("198.18.0.9"), Ref: ghost}}
	if l, ok := o.(*model.Links); !ok || !reflect.DeepEqual(l.Ghosts, want) || len(problems) != 3 {
		t.Errorf("got %+v, %v", o, problems)
	}
}
