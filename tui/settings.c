/* The settings of the recovery as a form: names and checks are those of the command
 * line's options. */
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

static int setting_count(const struct workbench *wb)
{
	int known = wb->backend.setting_count;
	return wb->s->setting_count < known ? wb->s->setting_count : known;
}

void settings_open(struct workbench *wb)
{
	if (setting_count(wb) == 0) {
		workbench_say(wb, "the settings are not loaded yet");
		return;
	}
	form_show(&wb->settings, "settings of the recovery", presets, (int)ARRAY_LEN(presets),
		  wb->backend.check_setting, NULL);
	for (int i = 0; i < setting_count(wb); i++)
		form_add(&wb->settings, &wb->backend.settings[i], wb->s->setting_values[i]);
}

void settings_key(struct workbench *wb, int key)
{
	if (form_key(&wb->settings, key) != FORM_ACCEPTED)
		return;
	for (int i = 0; i < setting_count(wb); i++) {
		const char *name = wb->backend.settings[i].name, *value = form_value(&wb->settings, name);
		char text[FORM_VALUE_SIZE + 64];
		if (strcmp(value, wb->s->setting_values[i]) == 0)
			continue;
		snprintf(text, sizeof text, "%s=%s", name, value);
		workbench_send(wb, COMMAND_SETTING, 0, text);
	}
}
