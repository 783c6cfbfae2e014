// Package directory holds the B2B facts as typed records: organizations, members, roles, users, clients, APIs, API keys,
// vendors, integrations, relations. It knows where each lives in the datastore, validates what is written and reads
// and writes the directory file.
//
// It must never store a secret that can be read back, and never write a document that policies would misread.
package directory
