#define PCRE2_CODE_UNIT_WIDTH 8
#include "models/tokenizer_regex.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "compute/base/mem.h"
#include "compute/base/text.h"

struct regex {
	pcre2_code *code;
};

static const char space_ranges[] = "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}"
				   "\\x{202F}\\x{205F}\\x{3000}";
static const char other_ranges[] =
	"\\x{0}-\\x{8}\\x{E}-\\x{1F}\\x{21}-\\x{84}\\x{86}-\\x{9F}\\x{A1}-\\x{167F}\\x{1681}-\\x{1FFF}"
	"\\x{200B}-\\x{2027}\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}";
static const char word_classes[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

bool unicode_is_space(uint32_t c)
{
	return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool unicode_is_word(uint32_t c)
{
	switch (utf8proc_category((utf8proc_int32_t)c)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_MC:
	case UTF8PROC_CATEGORY_ME:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_PC:
		return true;
	default:
		/* Other_Alphabetic outside the categories above: enclosed letters. */
		return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
		       (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
	}
}

/* Reads \p{Name}, \P{Name} or \p{^Name} at s[0..n), writes it for PCRE2 and returns
 * its length, or 0. */
static size_t rewrite_property(struct strbuf *out, const char *s, size_t n)
{
	const char *close = n > 3 && s[2] == '{' ? memchr(s, '}', n) : NULL;
	if (!close)
		return 0;
	const char *name = s + 3;
	if (*name == '^')
		name++;
	size_t length = (size_t)(close - name);
	if (length == 0)
		return 0;
	for (size_t i = 0; i < length; i++)
		if (!isalpha((unsigned char)name[i]) && name[i] != '_')
			return 0;
	bool script = length > 2 && !(length == 10 && memcmp(name, "Alphabetic", 10) == 0);
	strbuf_add(out, s, (size_t)(name - s));
	strbuf_add_string(out, script ? "sc:" : "");
	strbuf_add(out, name, length + 1);
	return (size_t)(close - s) + 1;
}

/* One escape at s[0..n), n >= 2. Returns its length, or 0 if it is refused. */
static size_t rewrite_escape(struct strbuf *out, const char *s, size_t n, bool in_class)
{
	switch (s[1]) {
	case 's':
		strbuf_printf(out, in_class ? "%s" : "[%s]", space_ranges);
		return 2;
	case 'S':
		strbuf_printf(out, in_class ? "%s" : "[%s]", other_ranges);
		return 2;
	case 'w':
		strbuf_printf(out, in_class ? "%s" : "[%s]", word_classes);
		return 2;
	case 'W':
		if (in_class)
			return 0;
		strbuf_printf(out, "[^%s]", word_classes);
		return 2;
	case 'p':
	case 'P':
		return rewrite_property(out, s, n);
	case 'v':
		strbuf_add_string(out, "\\x{B}");
		return 2;
	case 'd':
	case 'D':
	case 'r':
	case 'n':
	case 't':
	case 'f':
	case 'x':
		strbuf_add(out, s, 2);
		return 2;
	case 'u': {
		if (n < 6 || strspn(s + 2, "0123456789abcdefABCDEF") < 4)
			return 0;
		strbuf_printf(out, "\\x{%.4s}", s + 2);
		return 6;
	}
	case 'b':
	case 'B':
		return 0; /* PCRE2's idea of a word differs */
	default:
		if ((unsigned char)s[1] >= 0x80 || isalnum((unsigned char)s[1]))
			return 0;
		strbuf_add(out, s, 2);
		return 2;
	}
}

/* Rewrites the whole pattern. Returns NULL, or what it stumbled over. */
static const char *rewrite(struct strbuf *out, const char *s, size_t n)
{
	bool in_class = false;
	for (size_t i = 0; i < n;) {
		if (s[i] == '\0')
			return "a NUL character";
		if (s[i] == '\\') {
			size_t used = i + 1 < n ? rewrite_escape(out, s + i, n - i, in_class) : 0;
			if (used == 0)
				return "an escape that is not supported";
			i += used;
			continue;
		}
		if (in_class && s[i] == '[')
			return "a class inside a class";
		if (in_class && s[i] == '&' && i + 1 < n && s[i + 1] == '&')
			return "an intersection of classes";
		if (!in_class && s[i] == '(' && i + 1 < n &&
		    (s[i + 1] == '*' || (s[i + 1] == '?' && i + 2 < n && strchr("CRP&+0123456789|", s[i + 2]))))
			return "a group of a kind that is not supported";
		if (s[i] == '[' && i + 1 < n) {
			in_class = true;
			strbuf_add_char(out, s[i++]);
			if (i < n && s[i] == '^')
				strbuf_add_char(out, s[i++]);
			if (i < n && s[i] == ']')
				return "an empty class";
			continue;
		}
		if (s[i] == ']')
			in_class = false;
		strbuf_add_char(out, s[i++]);
	}
	return NULL;
}

enum status regex_compile(struct regex **out, const char *pattern, size_t n, const char *what, struct error *error)
{
	*out = NULL;
	struct strbuf rewritten = {0};
	const char *problem = rewrite(&rewritten, pattern, n);
	enum status status = STATUS_OK;
	if (problem) {
		status = error_set(error, STATUS_INVALID, "%s: the regular expression \"%.300s\" has %s", what, pattern,
				   problem);
	} else {
		int number;
		size_t offset;
		/* Oniguruma's ^ and $ match at every line. */
		uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
		pcre2_compile_context *context = pcre2_compile_context_create(NULL);
		if (!context)
			fatal("out of memory: regular expression");
		pcre2_set_newline(context, PCRE2_NEWLINE_LF);
		pcre2_code *code = pcre2_compile((PCRE2_SPTR)(rewritten.data ? rewritten.data : ""), rewritten.length,
						 options, &number, &offset, context);
		pcre2_compile_context_free(context);
		if (!code) {
			char reason[120] = "";
			pcre2_get_error_message(number, (PCRE2_UCHAR *)reason, sizeof reason);
			status =
				error_set(error, STATUS_INVALID, "%s: the regular expression \"%.300s\" is refused: %s",
					  what, pattern, reason);
		} else {
			pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it, it is only slower */
			*out = mem_alloc(1, sizeof **out);
			(*out)->code = code;
		}
	}
	strbuf_done(&rewritten);
	return status;
}

void regex_destroy(struct regex **regex)
{
	if (*regex)
		pcre2_code_free((*regex)->code);
	free(*regex);
	*regex = NULL;
}

void regex_scratch_done(struct regex_scratch *scratch)
{
	pcre2_match_data_free(scratch->match);
	scratch->match = NULL;
}

enum status regex_search(const struct regex *regex, struct regex_scratch *scratch, const char *s, size_t n, size_t from,
			 bool *found, size_t *start, size_t *end, struct error *error)
{
	if (!scratch->match && !(scratch->match = pcre2_match_data_create(1, NULL)))
		fatal("out of memory: regular expression");
	PCRE2_SPTR subject = (PCRE2_SPTR)(s ? s : "");
	int result = pcre2_match(regex->code, subject, n, from, PCRE2_NO_UTF_CHECK, scratch->match, NULL);
	if (result == PCRE2_ERROR_JIT_STACKLIMIT)
		result = pcre2_match(regex->code, subject, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match,
				     NULL);
	*found = result >= 0;
	if (result == PCRE2_ERROR_NOMATCH)
		return STATUS_OK;
	if (result < 0) {
		char reason[120] = "";
		pcre2_get_error_message(result, (PCRE2_UCHAR *)reason, sizeof reason);
		return error_set(error, STATUS_FAILED,
				 "the tokenizer's regular expression cannot be matched to the text: %s", reason);
	}
	const size_t *offsets = pcre2_get_ovector_pointer(scratch->match);
	*start = offsets[0];
	*end = offsets[1];
	return STATUS_OK;
}
