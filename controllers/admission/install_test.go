package admission

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestObjects: everything in config/webhook is installed, in the manager's namespace.
func TestObjects(t *testing.T) {
	list, err := objects("elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range list {
		names = append(names, o.GetKind()+"/"+o.GetName())
		if ns := o.GetNamespace(); ns != "" && ns != "elsewhere" {
			t.Errorf("%s is in namespace %s", o.GetName(), ns)
		}
		if o.GetKind() == "ValidatingWebhookConfiguration" {
			webhooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
			for _, w := range webhooks {
				if ns, _, _ := unstructured.NestedString(w.(map[string]any), "clientConfig", "service", "namespace"); ns != "elsewhere" {
					t.Errorf("the webhook asks a Service in namespace %q", ns)
				}
			}
		}
	}
	for _, want := range []string{
		"ValidatingWebhookConfiguration/" + WebhookName, "Service/" + ServiceName,
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not installed: %v", want, names)
		}
	}
}
