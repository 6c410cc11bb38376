package admission

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRequestLimiter: large requests wait for each other, and small ones do not wait for them.
func TestRequestLimiter(t *testing.T) {
	begun, goOn := make(chan int64, 100), make(chan struct{})
	l := newRequestLimiter(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- r.ContentLength
		if r.ContentLength != 0 {
			<-goOn
		}
	}))
	l.within = time.Minute
	answers := make(chan int, 100)
	send := func(size int64, body io.Reader) {
		r := httptest.NewRequest(http.MethodPost, Path, body)
		r.ContentLength = size
		w := httptest.NewRecorder()
		l.ServeHTTP(w, r)
		answers <- w.Code
	}
	go send(largeRoom, strings.NewReader(""))
	<-begun
	for _, size := range []int64{-1, largeRoom + 1, smallRequest + 1} {
		go send(size, strings.NewReader(""))
	}
	send(0, http.NoBody) // with all room for large ones taken
	if size := <-begun; size != 0 {
		t.Fatalf("a request of %d bytes had no room and began", size)
	}
	close(goOn)
	for range 5 {
		if code := <-answers; code != http.StatusOK {
			t.Errorf("answered with status %d", code)
		}
	}
	if n := len(begun); n != 3 {
		t.Errorf("%d requests began afterwards, want 3", n)
	}
}

// TestRequestLimiterRefuses: a request without room is refused, and takes none.
func TestRequestLimiterRefuses(t *testing.T) {
	l := newRequestLimiter(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request had no room and began") }))
	l.within = 0
	if !l.large.TryAcquire(largeRoom) {
		t.Fatal("there is less room than there should be")
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, Path, http.NoBody)
	r.ContentLength = smallRequest + 1
	l.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered with status %d", w.Code)
	}
	l.large.Release(largeRoom)
	if !l.large.TryAcquire(largeRoom) {
		t.Error("the room of the request that was refused is gone")
	}
}
