# mandate:ignore missing-metadata: it is somebody else's
package lib.plain

yes if input.b
