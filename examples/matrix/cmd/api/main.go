// Command api says its name and version.
package main

import "fmt"

// version is set by the linker.
var version = "unknown"

func main() { fmt.Println("api", version) }
