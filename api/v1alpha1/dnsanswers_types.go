package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// +kubebuilder:object:root=true

// DNSAnswers is a file of DNS answers: what the names that rules speak of stand for,
// where no agent has learnt it. It is a file format: no API server holds it.
type DNSAnswers struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec DNSAnswersSpec `json:"spec"`
}

// DNSAnswersSpec is a list of answers.
type DNSAnswersSpec struct {
	// Answers in any order. Of a name there may be several.
	Answers []DNSAnswer `json:"answers"`
}

// DNSAnswer is what a DNS server has answered for a name.
type DNSAnswer struct {
	// Name that was asked for.
	Name string `json:"name"`
	// Chain is the names of the CNAME records that lead from Name to the addresses, in order.
	Chain []string `json:"chain,omitempty"`
	// Addresses that they lead to.
	Addresses []string `json:"addresses"`
}
