// Checks proofs of an audit log with golang.org/x/mod/sumdb: an implementation that shares nothing
// with the one that made them.
//
//	go run . VERIFIER-KEY < proof.json
//
// The proof is what `casemate audit prove` prints. Exit code 0 only if note and proof hold.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proof struct {
	Kind       string      `json:"kind"`
	Checkpoint string      `json:"checkpoint"`
	Index      int64       `json:"index"`
	Old        int64       `json:"old"`
	Size       int64       `json:"size"`
	Entry      string      `json:"entry"`
	From       tlog.Hash   `json:"from"`
	Root       tlog.Hash   `json:"root"`
	Proof      []tlog.Hash `json:"proof"`
}

func check(key string, given proof) error {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return err
	}
	opened, err := note.Open([]byte(given.Checkpoint), note.VerifierList(verifier))
	if err != nil {
		return err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return fmt.Errorf("this is no checkpoint: %q", opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return err
	}
	if given.Size == size && given.Root != root {
		return fmt.Errorf("the proof's root is not the checkpoint's")
	}
	switch given.Kind {
	case "inclusion":
		if given.Size != size {
			return fmt.Errorf("the proof is for %d records, the checkpoint for %d", given.Size, size)
		}
		leaf := tlog.RecordHash([]byte(given.Entry))
		if leaf != given.From {
			return fmt.Errorf("the entry does not have the leaf's hash")
		}
		return tlog.CheckRecord(given.Proof, size, root, given.Index, leaf)
	case "consistency":
		return tlog.CheckTree(given.Proof, given.Size, given.Root, given.Old, given.From)
	}
	return fmt.Errorf("unknown kind %q", given.Kind)
}

func main() {
	var given proof
	decoder := json.NewDecoder(os.Stdin)
	err := decoder.Decode(&given)
	if err == nil && len(os.Args) != 2 {
		err = fmt.Errorf("give the verifier key")
	}
	if err == nil {
		err = check(os.Args[1], given)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("holds")
}
