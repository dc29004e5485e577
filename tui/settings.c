/* The settings of the recovery and of the suffix as forms: names and checks are those of the
 * command line's options. The suffix's form ends in training it. */
#include <stdio.h>
#include <string.h>

#include "compute/base/mem.h"
#include "tui/workbench.h"

static const char *const ioi[] = {"steps", "100", "lr", "0.1", "budget", "20", "project", "encoder", NULL};
static const char *const unlearning[] = {"steps", "150", "lr", "0.08", "budget", "20", "project", "encoder", NULL};
static const char *const unconstrained[] = {"project", "none", NULL};
static const char *const refusal[] = {"steps",	       "80",	   "lr",	  "0.03", "budget",	 "40",
				      "project",       "jacobian", "lambda-act",  "200",  "act-loss",	 "relative_l2",
				      "probes",	       "8",	   "drift-probe", "yes",  "corrections", "5",
				      "correction-lr", "0.05",	   NULL};
static const struct form_preset presets[] = {
	{"IOI of the paper (100 steps, budget 20, encoder)", ioi},
	{"unlearning of the paper (150 steps, budget 20, encoder)", unlearning},
	{"refusal of the paper, stage 2 (80 steps, budget 40, jacobian)", refusal},
	{"without a projection, the baseline", unconstrained},
};

static int setting_count(const struct workbench *wb, enum settings_of of)
{
	int known = wb->backend.settings[of].count, here = wb->s->settings_of[of].count;
	return here < known ? here : known;
}

void settings_open(struct workbench *wb, enum settings_of of)
{
	const struct workbench_settings *known = &wb->backend.settings[of];
	bool suffix = of == SETTINGS_OF_SUFFIX;
	if (setting_count(wb, of) == 0) {
		workbench_say(wb, "the settings are not loaded yet");
		return;
	}
	wb->settings_of = of;
	form_show(&wb->settings, suffix ? "train a suffix (METHOD 11)" : "settings of the recovery",
		  suffix ? NULL : presets, suffix ? 0 : (int)ARRAY_LEN(presets), known->check, NULL);
	wb->settings.accept = suffix ? "train" : NULL;
	for (int i = 0; i < setting_count(wb, of); i++)
		form_add(&wb->settings, &known->fields[i], wb->s->settings_of[of].values[i]);
}

void settings_key(struct workbench *wb, int key)
{
	enum settings_of of = wb->settings_of;
	if (form_key(&wb->settings, key) != FORM_ACCEPTED)
		return;
	for (int i = 0; i < setting_count(wb, of); i++) {
		const char *name = wb->backend.settings[of].fields[i].name, *value = form_value(&wb->settings, name);
		char text[FORM_VALUE_SIZE + 64];
		if (strcmp(value, wb->s->settings_of[of].values[i]) == 0)
			continue;
		snprintf(text, sizeof text, "%s=%s", name, value);
		workbench_send(wb, of == SETTINGS_OF_SUFFIX ? COMMAND_SUFFIX_SETTING : COMMAND_SETTING, 0, text);
	}
	if (of == SETTINGS_OF_SUFFIX)
		workbench_send(wb, COMMAND_SUFFIX, 0, NULL);
}
