# METADATA
# title: Masks
package mandate.log

# METADATA
# title: What is left out of records
mask contains "/input/context/secret" if {
	time.now_ns() > 0 # want: volatile-mask
}

mask contains "/input/context/email" if input.point == "mandate/access"

mask contains "/input/context/phone" if {
	data.custom.private
	count(data.users) > 5 # want: scan
}
