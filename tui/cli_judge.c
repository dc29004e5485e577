/* The judges' verdicts on texts, as the commands show them. */
#include <stdio.h>

#include "compute/base/mem.h"
#include "sessions/journal.h"
#include "tui/cli.h"

cJSON *cli_judge_json(const struct judge_verdict *verdict)
{
	cJSON *json = cJSON_CreateObject();
	for (int i = 0; i < JUDGE_RULE_COUNT; i++) {
		const struct judge_finding *f = &verdict->findings[i];
		if (!f->known)
			continue;
		cJSON *item = cJSON_AddObjectToObject(json, judge_rule_name((enum judge_rule)i));
		cJSON_AddBoolToObject(item, "verdict", f->yes);
		journal_add_string(item, "rule", f->rule);
		journal_add_string(item, "words", f->words);
	}
	cJSON_AddNumberToObject(json, "characters", (double)verdict->characters);
	cJSON_AddNumberToObject(json, "words", (double)verdict->words);
	cJSON_AddNumberToObject(json, "unique_words", verdict->unique_words);
	cJSON_AddNumberToObject(json, "character_share", verdict->character_share);
	if (verdict->findings[JUDGE_BASE_LIKE].known) {
		cJSON_AddNumberToObject(json, "jaccard", verdict->jaccard);
		cJSON_AddNumberToObject(json, "similarity", verdict->similarity);
	}
	return json;
}

void cli_judge_print(const struct judge_verdict *verdict)
{
	for (int i = 0; i < JUDGE_RULE_COUNT; i++) {
		const struct judge_finding *f = &verdict->findings[i];
		if (!f->known)
			continue;
		printf("%-18s  %-3s", judge_rule_name((enum judge_rule)i), f->yes ? "yes" : "no");
		if (f->rule[0])
			printf("  %s '%s'", f->rule, f->words);
		putchar('\n');
	}
}
