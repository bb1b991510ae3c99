// fm answers every request with a greeting and the local time.
package main

import (
	"fmt"
	"io/ioutil"
	"log"
	"net/http"
	"strings"
	"time"
)

// config reads `key: "value"` lines, which is all the YAML this needs.
func config(path string) (map[string]string, error) {
	text, err := ioutil.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		parts := strings.SplitN(line, ":", 2)
		if len(parts) == 2 {
			values[strings.TrimSpace(parts[0])] = strings.Trim(strings.TrimSpace(parts[1]), `"`)
		}
	}
	return values, nil
}

func main() {
	values, err := config("conf/config.yaml")
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s\n", values["greeting"], time.Now().Format(time.RFC1123))
	})
	log.Fatal(http.ListenAndServe(values["listen"], nil))
}
