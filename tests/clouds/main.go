// A store that speaks what clients of Google Cloud Storage speak: fake-gcs-server, with one bucket.
//
// It lacks the upload of the XML API, with which Headroom writes. So that is handed to it as an upload of its JSON API, which
// has the same conditions: the store judges them.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

const bucket = "lake"

// The object that an upload of the XML API writes; false for every other request.
func uploaded(request *http.Request) (string, bool) {
	name, found := strings.CutPrefix(request.URL.Path, "/"+bucket+"/")
	return name, found && request.Method == http.MethodPut
}

func main() {
	address := os.Args[1]
	store, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: address})
	if err != nil {
		log.Fatal(err)
	}
	store.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	handler := store.HTTPHandler()
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		name, isUpload := uploaded(request)
		if !isUpload {
			handler.ServeHTTP(answer, request)
			return
		}
		query := url.Values{"uploadType": {"media"}, "name": {name}}
		if generation := request.Header.Get("x-goog-if-generation-match"); generation != "" {
			query.Set("ifGenerationMatch", generation)
		}
		upload := request.Clone(request.Context())
		upload.Method = http.MethodPost
		upload.URL = &url.URL{Path: "/upload/storage/v1/b/" + bucket + "/o", RawQuery: query.Encode()}
		upload.RequestURI = upload.URL.RequestURI()
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, upload)
		if recorder.Code == http.StatusOK {
			var object struct{ Etag, Generation string }
			if err := json.Unmarshal(recorder.Body.Bytes(), &object); err != nil {
				log.Fatal(err)
			}
			answer.Header().Set("ETag", strconv.Quote(object.Etag))
			answer.Header().Set("x-goog-generation", object.Generation)
		}
		answer.WriteHeader(recorder.Code)
	})))
}
