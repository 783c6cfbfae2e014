# METADATA
# scope: subpackages
# title: Near misses are the rules that are no entry points, and what lies below a described package
package lib.described

yes if input.a
