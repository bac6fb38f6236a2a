"""The nouns of the Image API and their status tables. Pure: nothing here waits, stores or decides who may."""
