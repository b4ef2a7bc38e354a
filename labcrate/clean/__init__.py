"""What a lab left on the engine, and taking it away: survey, plan, act, survey again."""
