package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/policy/model"
)

// checkTexts reports labels and annotations that no API server would take. The object
// stays in force. Labels of what rules select are those of labels, which runs for
// every pod.
func (r *report) checkTexts(m metav1.Object) {
	var wrong field.ErrorList
	switch r.ref.Kind {
	case model.KindEndpointSlice, model.KindNodeLinks: // machines write them, and agents read little of them
		return
	case model.KindPod, model.KindNode, model.KindNamespace, model.KindServiceAccount,
		model.KindHostEndpoint, model.KindNetworkSet, model.KindGlobalNetworkSet:
	default:
		wrong = metav1validation.ValidateLabels(m.GetLabels(), metadataPath.Child("labels"))
	}
	if a := m.GetAnnotations(); len(a) > 0 {
		wrong = append(wrong, apivalidation.ValidateAnnotations(a, metadataPath.Child("annotations"))...)
	}
	var found []model.Problem
	for _, e := range wrong {
		message := e.Detail
		if e.Type == field.ErrorTypeInvalid {
			message = fmt.Sprintf("%s is not valid: %s", quote(fmt.Sprint(e.BadValue)), e.Detail)
		}
		found = append(found, model.Problem{Object: r.ref, Field: e.Field, Message: message})
	}
	// The validation goes by the order of maps.
	slices.SortFunc(found, func(a, b model.Problem) int {
		return cmp.Or(strings.Compare(b.Field, a.Field), strings.Compare(a.Message, b.Message))
	})
	r.errors += len(found)
	r.list = append(r.list, found...)
}
