package server

// explanationWords describe the members of explanations.
func explanationWords(name string) string {
	switch name {
	case "grounds":
		return "The rules that an allow rests on, or for each rule that could have allowed what it failed by, the closest first."
	case "denies":
		return "The rule that denies in so many words."
	case "otherwise":
		return "What would have to be different."
	case "repeated":
		return "How a logged decision came out when it was made again."
	case "through":
		return "The rules that failed because this one did, the decision first."
	case "about":
		return "What the annotation or the message of the rule says."
	case "condition":
		return "The first condition that failed."
	case "because":
		return "The rule that held where the condition wants that it does not."
	case "values":
		return "Those of the variables and members of the input in the condition."
	case "needed":
		return "The smallest sets of changes that would each make it an allow."
	case "none":
		return "Why there are none."
	case "rests":
		return "Facts without which it would be a denial."
	case "tried":
		return "How many changes were tried."
	case "complete":
		return "Whether all were."
	case "sentence":
		return "What is not as it would have to be."
	case "sets":
		return "The changes, each set for itself."
	case "fact":
		return "The path of a document."
	case "request":
		return "A member of the request."
	case "is":
		return "What it is; left out where there is none."
	case "would_be":
		return "What it would be."
	case "same":
		return "Whether it came out the same."
	case "logged":
		return "What was decided, when that is another."
	case "inexact":
		return "Why it could not be made again exactly."
	case "withheld":
		return "Whether only what rests on the facts of the caller's organization is shown."
	case "scenario":
		return "A scenario file, as mandate policy test reads it."
	}
	return ""
}
