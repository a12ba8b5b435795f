"""Operations on conversations and preference pairs."""
