/* The SAEs as a list to choose the shown one from: what is loaded, what it takes, how it fits. */
#include <stdio.h>

#include "compute/base/text.h"
#include "tui/format.h"
#include "tui/workbench.h"

/* "on disk", "loaded"; what is shown or clamped is loaded, or it says that it isn't. */
static void state_text(char *out, size_t size, const struct snapshot *s, int site)
{
	const struct snapshot_site *of = &s->sites[site];
	const char *shown = site == s->site_selected ? "shown" : "";
	if (!of->loaded)
		snprintf(out, size, "%s%s", shown, shown[0] ? ", not loaded" : "on disk");
	else if (of->clamped > 0)
		snprintf(out, size, "%s%s%d clamped", shown, shown[0] ? ", " : "", of->clamped);
	else
		snprintf(out, size, "%s", shown[0] ? shown : "loaded");
}

/* Of another prompt it is not said: the number would be taken for one of this. */
static void fit_text(char *out, size_t size, const struct snapshot_site *of)
{
	char fvu[FORMAT_SIZE];
	out[0] = '\0';
	if (of->has_fit && !of->fit_stale)
		snprintf(out, size, "fvu %s L0 %.0f", format_number(fvu, (double)of->fvu), (double)of->l0);
}

void sae_list_offer(struct workbench *wb)
{
	const struct snapshot *s = wb->s;
	char bytes[TEXT_BYTES_SIZE], item[CHOOSER_ITEM_SIZE], state[40], fit[FORMAT_SIZE + 24];
	int loaded = 0;
	if (s->site_count == 0) {
		workbench_say(wb, "no SAE is attached: start with --sae PATH");
		return;
	}
	for (int i = 0; i < s->site_count; i++)
		loaded += s->sites[i].loaded;
	snprintf(wb->sae_title, sizeof wb->sae_title, "SAEs: %d of %d loaded, %s; D drops those not in use", loaded,
		 s->site_count, text_bytes(bytes, s->sae_bytes));
	chooser_show(&wb->chooser, wb->sae_title);
	for (int i = 0; i < s->site_count; i++) {
		const struct snapshot_site *of = &s->sites[i];
		state_text(state, sizeof state, s, i);
		fit_text(fit, sizeof fit, of);
		snprintf(item, sizeof item, "L%-2d %-10s %6lld %-9s %6s  %-18s %s", of->layer, of->hook,
			 (long long)of->features, of->act, text_bytes(bytes, of->bytes), state, fit);
		chooser_add(&wb->chooser, item, NULL);
	}
	list_go(&wb->chooser.list, s->site_selected);
}

bool sae_list_key(struct workbench *wb, int key)
{
	if (keys_action(PANE_GLOBAL, key) != ACTION_DROP_SAES)
		return false;
	workbench_send(wb, COMMAND_DROP_SAES, 0, NULL);
	return true;
}

void sae_list_update(struct workbench *wb)
{
	int cursor = wb->chooser.list.cursor;
	sae_list_offer(wb);
	list_go(&wb->chooser.list, cursor);
}

void sae_list_chosen(struct workbench *wb)
{
	workbench_send(wb, COMMAND_SELECT_SITE, wb->chooser.list.cursor, NULL);
}
