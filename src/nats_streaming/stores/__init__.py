"""Durable state behind one seam."""
